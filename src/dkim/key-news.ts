/** What an operator is told of keys: changes in, events out, nothing twice. */
import type { EmitEvent } from "../events.ts";
import { NOT_IN_DNS } from "../mail/dkim-record.ts";
import type { DkimKey, DkimKeyState } from "../queue/dkim-keys.ts";
import { recordName } from "./wanted.ts";

export class KeyNews {
  readonly #emit: EmitEvent;
  /** What was last said of a key's record. */
  readonly #said = new Map<string, string | undefined>();

  constructor(emit: EmitEvent) {
    this.#emit = emit;
  }

  waits(key: DkimKey): void {
    this.#said.set(recordName(key), NOT_IN_DNS);
    this.#state(key, "waiting-for-dns", `it signs once its record is in DNS: postern dkim dns ${key.domain}`);
  }

  signs(key: DkimKey, problem: string | undefined): void {
    this.#said.set(recordName(key), problem);
    this.#state(key, "active", `its record is in DNS, and it signs${problem === undefined ? "" : `; but ${problem}`}`);
  }

  retires(key: DkimKey, by: DkimKey, until: number): void {
    this.#state(key, "retiring", `${by.selector} signs now; its record must stay in DNS until ${new Date(until).toISOString()}`);
  }

  goes(key: DkimKey, why: string): void {
    this.#said.delete(recordName(key));
    this.#state(key, "removed", why);
  }

  /** DNS said something of the record, and the key's state stays: one in use goes on signing, so the news is a problem only. */
  looked(key: DkimKey, problem: string | undefined): void {
    const name = recordName(key);
    if (this.#said.get(name) === problem) return;
    this.#said.set(name, problem);
    if (key.state === "waiting-for-dns") {
      this.#state(key, key.state, problem ?? "");
    } else if (problem === undefined) {
      this.#emit({ kind: "notice", level: "info", text: `DKIM ${name}: the record is in order again` });
    } else {
      const meaning = key.state === "active" ? "it goes on signing" : "mail signed with it cannot be verified";
      this.#emit({ kind: "notice", level: "warn", text: `DKIM ${name}: ${problem}; ${meaning}` });
    }
  }

  #state(key: DkimKey, state: DkimKeyState | "removed", detail: string): void {
    this.#emit({ kind: "dkim-key", domain: key.domain, selector: key.selector, state, detail });
  }
}
