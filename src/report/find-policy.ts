/**
 * Asks DNS where a domain wants its reports (RFC 8460 §3): its name in; the record as it is now, or why it could not be had, out.
 * What a record says is report/rua.ts's.
 */
import type { Domain } from "../mail/domain.ts";
import type { FindTxt, LookupFailure } from "../policy/facts.ts";
import { parseReportRecords, type ReportingPolicy } from "./rua.ts";

export async function findReportingPolicy(domain: Domain, findTxt: FindTxt): Promise<ReportingPolicy | LookupFailure> {
  const found = await findTxt(`_smtp._tls.${domain}`);
  // A question without an answer does not say that there is no record.
  if (found.kind === "failed") return found;
  return parseReportRecords(found.kind === "answer" ? found.records : []);
}
