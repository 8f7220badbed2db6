import type { TlsReportStore } from "../../queue/tls-reports.ts";

const notKept = (): Promise<never> => Promise.reject(new Error("not kept yet"));

export class SqliteReports implements TlsReportStore {
  listCounted(): Promise<never> {
    return notKept();
  }
  counts(): Promise<never> {
    return notKept();
  }
  failedDomains(): Promise<never> {
    return notKept();
  }
  daysWithoutReports(): Promise<never> {
    return notKept();
  }
  domainsWithoutReport(): Promise<never> {
    return notKept();
  }
  add(): Promise<never> {
    return notKept();
  }
  claimDue(): Promise<never> {
    return notKept();
  }
  save(): Promise<never> {
    return notKept();
  }
  makeDue(): Promise<never> {
    return notKept();
  }
  nextDue(): Promise<never> {
    return notKept();
  }
  list(): Promise<never> {
    return notKept();
  }
  find(): Promise<never> {
    return notKept();
  }
  findRua(): Promise<never> {
    return notKept();
  }
  saveRua(): Promise<never> {
    return notKept();
  }
  forget(): Promise<never> {
    return notKept();
  }
}
