/** Every mutation, in the order of a message's way: what DNS proves, what is published, what is demanded, what is done and told. */
import { channelMutations } from "./channel.ts";
import { daneMutations } from "./dane.ts";
import { demandMutations } from "./demands.ts";
import { dnssecMutations } from "./dnssec.ts";
import type { Mutation } from "./mutation.ts";
import { requireTlsMutations } from "./requiretls.ts";
import { stsMutations } from "./mta-sts.ts";
import { tlsReportMutations } from "./tls-reports.ts";

export const mutations: readonly Mutation[] = [
  ...dnssecMutations,
  ...daneMutations,
  ...stsMutations,
  ...demandMutations,
  ...requireTlsMutations,
  ...channelMutations,
  ...tlsReportMutations,
];
