/**
 * The whole relay, put together: settings in, a running relay out. Every room gets here what it needs of the others; no
 * room knows how its neighbour is made. Signals and the process's end are main.ts.
 */
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { hostname, networkInterfaces } from "node:os";
import { resolve } from "node:path";
import type { AdminIo, ListenerStatus, RelayStatus, ReloadResult } from "./admin/handlers.ts";
import { type Control, openControl } from "./admin/control.ts";
import type { Clock } from "./clock.ts";
import { compareSettings } from "./config/reload.ts";
import type { Settings } from "./config/settings.ts";
import { checkTimeouts, createCheck } from "./delivery/check.ts";
import { createConnector } from "./delivery/connect.ts";
import type { DeliveryRules } from "./delivery/run.ts";
import type { OpenSession } from "./delivery/session.ts";
import { loadRoots } from "./delivery/tls-options.ts";
import { DeliveryWorker } from "./delivery/worker.ts";
import type { EmitEvent } from "./events.ts";
import { createConfiguredHostLookup } from "./lookup/configured-host.ts";
import { hasGlobalIpv6, localAddresses } from "./lookup/own-addresses.ts";
import { createAddressGuard } from "./lookup/special-addresses.ts";
import { type Lookups, openLookups } from "./lookups.ts";
import { isHostname } from "./mail/domain.ts";
import { createDaneJudge } from "./policy/dane-match.ts";
import type { QueueStore } from "./queue/store.ts";
import { openReporting } from "./reporting.ts";
import { openSqliteStore } from "./store/sqlite/open.ts";
import { type FromElsewhere, startSubmission, type Submission } from "./submission/listener.ts";
import { errorOf, messageOf } from "./thrown.ts";

export interface RelayIo {
  readonly version: string;
  readonly clock: Clock;
  readonly random: () => number;
  readonly emit: EmitEvent;
  /** Something is gone that only a restart brings back. */
  died(error: Error): void;
  /** Reads the configuration again, for `reload`. */
  reread(): Promise<
    | { readonly ok: true; readonly settings: Settings; readonly notes: readonly string[] }
    | { readonly ok: false; readonly errors: readonly string[] }
  >;
}

export interface Relay {
  status(): RelayStatus;
  reload(): Promise<ReloadResult>;
  /** Takes no more mail, lets what is under way finish within `grace` ms, closes. Returns how many attempts were cut off. */
  stop(grace: number): Promise<number>;
}

/** Finished messages are looked through this often for those whose time is over. */
const HOUSEKEEPING = 10 * 60_000;
/** Interfaces come and go; what we know of them is no older. */
const LOOK_AT_INTERFACES = 60_000;

export async function startRelay(first: Settings, io: RelayIo): Promise<Relay> {
  const { clock, emit, random } = io;
  const startedAt = clock.now();
  let settings = first;
  let rules = makeRules(settings);
  let open = makeConnector(settings, settings.delivery.timeouts, clock);
  let openForCheck = makeConnector(settings, checkTimeouts(settings.delivery.timeouts), clock);
  const dataFolder = resolve(settings.data.folder);

  const store = await openSqliteStore({
    folder: dataFolder,
    clock,
    emit,
    died: (error) => io.died(error),
    minimumFree: settings.data.minimumFree,
    settlementReserve: settings.data.settlementReserve,
  });
  let lookups: Lookups | undefined;
  let control: Control | undefined;
  let submission: Submission | undefined;
  let stopKeyring: (() => Promise<void>) | undefined;
  let draining = false;
  try {
    const opened = await openLookups(settings, {
      clock,
      random,
      emit,
      policies: store.policies,
      dataFolder,
      ipv6: () => rules.useIpv6,
      readText,
    });
    lookups = opened;
    const { resolver, sts } = opened;
    const facts = {
      lookup: resolver.client,
      findTlsa: opened.findTlsa,
      findStsPolicy: sts.find,
      dnssec: () => resolver.dnssec(),
      findConfiguredHost: createConfiguredHostLookup({
        clock,
        timeout: settings.resolver.timeout * settings.resolver.attempts,
        ipv6: () => rules.useIpv6,
      }),
    };
    const reporting = openReporting(settings, {
      store,
      client: resolver.client,
      clock,
      random,
      emit,
      machineName: machineName(),
      readText,
    });
    const { keyring } = reporting;
    await keyring.start();
    stopKeyring = () => keyring.stop();
    const worker = new DeliveryWorker({
      ...facts,
      rules: () => rules,
      store,
      open: (target) => open(target),
      sign: keyring.sign,
      reports: store.reports,
      clock,
      random,
      emit,
    });
    const reporter = reporting.openReporter(worker);
    submission = await startSubmission({
      settings: settings.submission,
      configuredUsers: settings.users,
      ...submissionNeeds(settings),
      store,
      users: store.users,
      clock,
      random,
      emit,
      leaseNow: (nextHop, submitter) => worker.leaseNow(nextHop, submitter),
      leaseUntil: () => worker.enqueueOptions.leaseUntil,
      findSigningDomain: keyring.findSigningDomain,
      accepted: (entries) => worker.offer(entries),
      minimumFree: settings.data.minimumFree,
      readFile: (path) => readFile(path),
      interfaces: networkInterfaces,
    });

    const status = (): RelayStatus => ({
      version: io.version,
      pid: process.pid,
      startedAt,
      dataFolder,
      // Those of the start: what a reload says of listeners waits for the next one.
      listeners: listenerStatus(first, submission?.listeners ?? []),
      draining,
      ...worker.snapshot(),
    });

    let reloading: Promise<ReloadResult> | undefined;
    const reloadNow = async (): Promise<ReloadResult> => {
      const reread = await io.reread();
      if (!reread.ok) {
        emit({ kind: "reload-refused", errors: reread.errors });
        return { ok: false, errors: reread.errors };
      }
      try {
        const comparison = compareSettings(settings, reread.settings);
        const { timeouts } = reread.settings.delivery;
        const newOpen = makeConnector(reread.settings, timeouts, clock);
        const useLookups = opened.prepare(reread.settings);
        const useReporting = reporting.prepare(reread.settings);
        const newOpenForCheck = makeConnector(reread.settings, checkTimeouts(timeouts), clock);
        const { submission: section, users } = reread.settings;
        const refreshed = (await submission?.reload(section, users, submissionNeeds(reread.settings))) ?? [];
        await useReporting();
        useLookups();
        settings = reread.settings;
        open = newOpen;
        openForCheck = newOpenForCheck;
        rules = makeRules(settings);
        worker.reloaded();
        reporter.wake();
        const changed = [...new Set([...comparison.changed, ...refreshed])];
        emit({ kind: "reloaded", changed });
        for (const text of reread.notes) emit({ kind: "notice", level: "info", text });
        for (const path of comparison.needsRestart)
          emit({ kind: "notice", level: "warn", text: `${path} has changed, which takes effect at the next start only` });
        return { ok: true, changed, needsRestart: comparison.needsRestart };
      } catch (error) {
        const errors = [messageOf(error)];
        emit({ kind: "reload-refused", errors });
        return { ok: false, errors };
      }
    };
    // One at a time: two signals in a row must not mix two files.
    const reload = async (): Promise<ReloadResult> => {
      await reloading;
      reloading = reloadNow();
      return reloading;
    };

    const adminIo: AdminIo = {
      admin: store.admin,
      users: store.users,
      store,
      reports: store.reports,
      reporter,
      keyring,
      wake: (nextHops) => worker.wake(nextHops),
      usersChanged: () => void submission?.usersChanged(),
      reload,
      status,
      policies: {
        floors: () => settings.tls,
        list: (page) => sts.list(page),
        show: (policyDomain) => sts.show(policyDomain),
        refresh: (policyDomain) => sts.refresh(policyDomain),
        daneSeen: (nextHop) => store.policies.findDane(nextHop),
      },
      check: createCheck({
        ...facts,
        rules: () => rules,
        findDane: (nextHop) => store.policies.findDane(nextHop),
        decide: (host, found, message) => worker.decide(host, found, message),
        // A question of the admin waits less long for a host than mail does, and takes no connection from the pool.
        open: (target) => openForCheck(target),
        findReportingWish: opened.findReportingWish,
        clock,
        random,
      }),
      dnssec: () => resolver.dnssec(),
      resolvers() {
        const { servers, pid } = resolver.status();
        return { servers, ...(pid !== undefined && { pid }) };
      },
      lookupTrouble: () => resolver.trouble(),
      clock,
    };
    control = await openControl(dataFolder, adminIo);
    const stopHousekeeping = keepHouse(store, () => settings, clock, emit);
    const stopLooking = repeat(clock, LOOK_AT_INTERFACES, () => {
      rules = makeRules(settings);
    });
    await sts.start();
    worker.start();
    reporter.start();
    emit({
      kind: "started",
      version: io.version,
      dataFolder,
      listeners: submission.listeners.map((at) => ({ ...at, ...wantOfCertificate(settings, at) })),
    });
    for (const text of [...warnings(settings, rules), ...reporting.warnings()]) emit({ kind: "notice", level: "warn", text });

    const openSubmission = submission;
    const openControlSocket = control;
    return {
      status,
      reload,
      async stop(grace) {
        draining = true;
        openSubmission.stopAccepting();
        stopHousekeeping();
        stopLooking();
        // Side by side: a client that dawdles must not eat up the time of hosts that are about to say that they have a message.
        // What is still handed in becomes durable, and waits in the queue for the next start.
        const [leftInFlight] = await Promise.all([worker.stop(grace), openSubmission.close(grace)]);
        await Promise.all([reporter.stop(), keyring.stop()]);
        await opened.close();
        await openControlSocket.close();
        await store.close();
        return leftInFlight;
      },
    };
  } catch (error) {
    await control?.close();
    await submission?.close(0);
    await stopKeyring?.();
    await lookups?.close();
    await store.close();
    throw error;
  }
}

/** Without a certificate STARTTLS is not offered, whatever the listener's setting says. */
function wantOfCertificate(settings: Settings, { tls }: { readonly tls: string }): { lacksCertificate?: true } {
  return tls === "starttls" && settings.submission.certificateFile === undefined ? { lacksCertificate: true } : {};
}

/** The configured listeners, and which of them are open. */
function listenerStatus(settings: Settings, open: Submission["listeners"]): ListenerStatus[] {
  return (
    settings.submission.listeners
      // Those that wait for a certificate are not opened, and no fault.
      .filter(({ tls }) => settings.submission.certificateFile !== undefined || (tls !== "implicit" && tls !== "require"))
      .map(({ name, address, port, tls, login }) => {
        const found = open.find((listener) => listener.name === name);
        return {
          name,
          address: found?.address ?? address,
          port: found?.port ?? port,
          tls: found?.tls ?? tls,
          ...wantOfCertificate(settings, { tls: found?.tls ?? tls }),
          login,
          open: found !== undefined,
        };
      })
  );
}

export function makeRules(settings: Settings): DeliveryRules {
  const { delivery, tls, tlsReports, submission } = settings;
  const interfaces = networkInterfaces();
  return {
    delivery,
    tls,
    tlsReports,
    mailname: settings.mailname ?? machineName(),
    postmaster: submission.postmaster,
    ownAddresses: new Set(localAddresses(interfaces)),
    useIpv6: delivery.ipv6 === "on" || (delivery.ipv6 === "auto" && hasGlobalIpv6(interfaces)),
    forbiddenAddress: createAddressGuard(delivery.allowedAddresses),
    rootsOf: readOnce(),
  };
}

// Its verdicts are by chain and records, whatever the settings.
const judgeDane = createDaneJudge();

function makeConnector({ tls }: Settings, timeouts: Settings["delivery"]["timeouts"], clock: Clock): OpenSession {
  return createConnector({ timeouts, roots: loadRoots(tls.roots, readText), clock, judgeDane });
}

/** The machine's own name serves as mailname only if it is fully qualified (RFC 5321 §2.3.5). */
function machineName(): string | undefined {
  const name = hostname().toLowerCase();
  return name.includes(".") && isHostname(name) && !name.endsWith(".local") && !name.endsWith(".localdomain") ? name : undefined;
}

/** What submission takes from other sections. */
function submissionNeeds({ mailname, delivery: { retry } }: Settings): FromElsewhere {
  const { giveUpAfter, giveUpAfterNullSender } = retry;
  return { mailname: mailname ?? machineName() ?? fallbackName(), giveUpAfter, giveUpAfterNullSender };
}

/** What greets clients while there is no mailname; it never leaves this machine's side of the wire. */
function fallbackName(): string {
  const name = hostname().toLowerCase();
  return isHostname(name) ? name : "localhost";
}

/** What an admin had better know at the start, before the first message waits for it. */
function warnings(settings: Settings, rules: DeliveryRules): string[] {
  const found: string[] = [];
  if (rules.mailname === undefined && settings.delivery.relayhost === undefined) {
    found.push(
      "mailname is not set and this machine's name has no dot: mail for MX hosts waits. Set mailname (MAILNAME) to the name that your sending address resolves to, or a relayhost",
    );
  }
  if (process.env["NODE_EXTRA_CA_CERTS"] !== undefined && settings.tls.roots === "bundled") {
    found.push(
      `NODE_EXTRA_CA_CERTS=${process.env["NODE_EXTRA_CA_CERTS"]} adds to the certificates that are trusted with tls.roots: bundled`,
    );
  }
  if (process.env["NODE_TLS_REJECT_UNAUTHORIZED"] === "0") {
    found.push("NODE_TLS_REJECT_UNAUTHORIZED=0 is set and has no effect here: certificates are verified all the same");
  }
  return found;
}

function keepHouse(store: QueueStore, settings: () => Settings, clock: Clock, emit: EmitEvent): () => void {
  return repeat(clock, HOUSEKEEPING, () => {
    store.admin
      .forgetFinished(clock.now() - settings().data.keepFinished)
      .catch((error: unknown) => emit({ kind: "fault", where: "housekeeping", error: errorOf(error) }));
  });
}

/** Runs `action` every `interval` ms until the returned function is called. */
function repeat(clock: Clock, interval: number, action: () => void): () => void {
  let cancel = () => {};
  const arm = (): void => {
    cancel = clock.after(interval, () => {
      action();
      arm();
    });
  };
  arm();
  return () => cancel();
}

/** Files of trust anchors, each read once until the next reload. */
function readOnce(): (file: string) => string | undefined {
  const texts = new Map<string, string | undefined>();
  return (file) => {
    if (!texts.has(file)) {
      try {
        texts.set(file, loadRoots(file, readText));
      } catch {
        // The plan says so to whoever asks why the message waits; the next look at the file is soon.
        texts.set(file, undefined);
      }
    }
    return texts.get(file);
  };
}

function readText(path: string): string {
  return readFileSync(path, "utf8");
}
