import type { DkimKeyStore } from "../../queue/dkim-keys.ts";

const notKept = (): Promise<never> => Promise.reject(new Error("not kept yet"));

export class SqliteDkimKeys implements DkimKeyStore {
  list(): Promise<never> {
    return notKept();
  }
  add(): Promise<never> {
    return notKept();
  }
  update(): Promise<never> {
    return notKept();
  }
  remove(): Promise<never> {
    return notKept();
  }
}
