/**
 * Which leased entry is attempted next. Entries wait in lanes, one for each submitter and destination; submitters take
 * turns, and so do the destinations of each, so that nobody's backlog and no silent host delays another's mail. Pure
 * bookkeeping: it is told the time and starts nothing itself (delivery/worker.ts does).
 */
import type { NextHop } from "../mail/domain.ts";
import type { LeasedEntry, Submitter } from "../queue/entry.ts";
import { type Contact, Destination, type DestinationLimits } from "./destination.ts";

export interface DispatchLimits extends DestinationLimits {
  /** Attempts at once, all destinations together. */
  readonly sockets: number;
  /** Share of those that only destinations which answer may take. */
  readonly reserveForAnswering: number;
  /** Octets of bodies in memory above which fresh entries are left to the database. */
  readonly memory: number;
}

/** Ready entries in memory, at most: in all, of one submitter, and in one lane. More wait in the database. */
export const READY_LIMITS = { total: 4000, perSubmitter: 1000, perLane: 200 } as const;

/**
 * Of all that, destinations that have not answered fill so much. A backlog for silent hosts would else sit in every place
 * there is, and mail for hosts that answer would wait in the database until they give up.
 */
const UNANSWERED_SHARE = 0.5;

/** Destinations whose behaviour is remembered while they have no mail. */
const REMEMBERED_DESTINATIONS = 10_000;

export interface Job {
  readonly entry: LeasedEntry;
  readonly destination: Destination;
}

/** The entries of one submitter for one destination, first in, first out. */
interface Lane {
  readonly submitter: SubmitterLanes;
  readonly destination: Destination;
  readonly waiting: LeasedEntry[];
  /** Index of the first entry still waiting; the array is cut when it has moved far. */
  head: number;
  /** True while the lane stands in its submitter's line. */
  inLine: boolean;
}

interface SubmitterLanes {
  readonly name: Submitter;
  /** Lanes with entries whose destination had room when last looked at, in turn. */
  line: Lane[];
  ready: number;
  inLine: boolean;
  /** Lanes it has, in line or not; without any it is forgotten. */
  lanes: number;
}

export class Dispatcher {
  readonly #limits: () => DispatchLimits;
  readonly #destinations = new Map<NextHop, Destination>();
  readonly #lanes = new Map<Destination, Map<Submitter, Lane>>();
  readonly #submitters = new Map<Submitter, SubmitterLanes>();
  /** Submitters with a lane in line, in turn. */
  #turns: SubmitterLanes[] = [];
  #ready = 0;
  #active = 0;
  #activeUnanswered = 0;
  #bodyOctets = 0;
  readonly #unanswered = new Set<LeasedEntry>();

  constructor(limits: () => DispatchLimits) {
    this.#limits = limits;
  }

  get ready(): number {
    return this.#ready;
  }

  get active(): number {
    return this.#active;
  }

  /** True while destinations that have not answered hold more than half of the share that is theirs. */
  get isCrowded(): boolean {
    const { sockets, reserveForAnswering } = this.#limits();
    return this.#activeUnanswered * 2 > Math.floor(sockets * (1 - reserveForAnswering));
  }

  get submitterCount(): number {
    return this.#submitters.size;
  }

  destination(nextHop: NextHop): Destination {
    let destination = this.#destinations.get(nextHop);
    if (destination === undefined) {
      destination = new Destination(nextHop, this.#limits());
      this.#destinations.set(nextHop, destination);
    }
    return destination;
  }

  /** True if a fresh entry should be leased at once and offered here, false if it had better wait in the database. */
  hasRoomFor(nextHop: NextHop, submitter: Submitter, now: number): boolean {
    const destination = this.#destinations.get(nextHop);
    const share = destination?.answers === true ? 1 : UNANSWERED_SHARE;
    if (this.#ready >= READY_LIMITS.total * share || this.#bodyOctets >= this.#limits().memory * share) return false;
    if ((this.#submitters.get(submitter)?.ready ?? 0) >= READY_LIMITS.perSubmitter * share) return false;
    if (destination === undefined) return true;
    if (destination.isDown(now)) return false;
    const lane = this.#lanes.get(destination)?.get(submitter);
    return lane === undefined || lane.waiting.length - lane.head < this.#laneLimit(destination);
  }

  /** How many more entries of this next hop may be leased from the database. */
  roomOf(nextHop: NextHop): number {
    const destination = this.destination(nextHop);
    const share = destination.answers ? 1 : UNANSWERED_SHARE;
    if (this.#bodyOctets >= this.#limits().memory * share) return 0;
    return Math.max(0, Math.min(this.#laneLimit(destination) - this.readyOf(nextHop), READY_LIMITS.total * share - this.#ready));
  }

  /** A first contact is one or two connections, so more than twice as many ready entries only take others' places. */
  #laneLimit(destination: Destination): number {
    return destination.answers ? READY_LIMITS.perLane : this.#limits().firstContact * 2;
  }

  /** Entries of this next hop that are ready in memory. */
  readyOf(nextHop: NextHop): number {
    const destination = this.#destinations.get(nextHop);
    const lanes = destination === undefined ? undefined : this.#lanes.get(destination);
    let waiting = 0;
    for (const lane of lanes?.values() ?? []) waiting += lane.waiting.length - lane.head;
    return waiting;
  }

  offer(entry: LeasedEntry): void {
    const lane = this.#lane(this.destination(entry.nextHop), entry.message.origin.submitter);
    lane.waiting.push(entry);
    this.#count(lane, entry, 1);
    this.#enterLine(lane);
  }

  /** Puts back an entry that could not be attempted for reasons that are not its own: it is first in its lane. */
  offerAgain(entry: LeasedEntry): void {
    const lane = this.#lane(this.destination(entry.nextHop), entry.message.origin.submitter);
    if (lane.head > 0) lane.waiting[--lane.head] = entry;
    else lane.waiting.unshift(entry);
    this.#count(lane, entry, 1);
    this.#enterLine(lane);
  }

  /** The next entry to attempt, or undefined while nobody who waits may start. */
  next(): Job | undefined {
    const limits = this.#limits();
    if (this.#active >= limits.sockets) return undefined;
    const unansweredMayStart = this.#activeUnanswered < Math.floor(limits.sockets * (1 - limits.reserveForAnswering));
    // Each submitter is asked once; one whose lanes all wait for something keeps its turn for later.
    for (let asked = this.#turns.length; asked > 0; asked--) {
      const submitter = this.#turns.shift();
      if (submitter === undefined) return undefined;
      const lane = this.#nextLane(submitter, limits, unansweredMayStart);
      if (submitter.line.length > 0) this.#turns.push(submitter);
      else submitter.inLine = false;
      if (lane !== undefined) return this.#start(lane);
    }
    return undefined;
  }

  /** An attempt got an open connection, or lost the last one it had. */
  noteConnected(job: Job, connected: boolean): void {
    job.destination.connected += connected ? 1 : -1;
  }

  /** An attempt is over. Call after `noteConnected(job, false)` if it was connected. */
  finished(job: Job, contact: Contact, now: number): "went-down" | "came-up" | "same" {
    const { destination } = job;
    destination.active -= 1;
    this.#active -= 1;
    if (this.#unanswered.delete(job.entry)) this.#activeUnanswered -= 1;
    const change = destination.learn(contact, now, this.#limits());
    for (const lane of this.#lanes.get(destination)?.values() ?? []) this.#enterLine(lane);
    this.#forgetIfIdle(destination, now);
    return change;
  }

  /** Takes away everything that waits for a destination, for instance because it went down. */
  withdraw(nextHop: NextHop): LeasedEntry[] {
    const destination = this.#destinations.get(nextHop);
    const lanes = destination === undefined ? undefined : this.#lanes.get(destination);
    if (destination === undefined || lanes === undefined) return [];
    const entries: LeasedEntry[] = [];
    for (const lane of lanes.values()) {
      while (lane.head < lane.waiting.length) entries.push(this.#shift(lane));
    }
    return entries;
  }

  /** Takes away everything that waits, to give the leases back before the process ends. */
  withdrawAll(): LeasedEntry[] {
    return [...this.#destinations.keys()].flatMap((nextHop) => this.withdraw(nextHop));
  }

  #nextLane(submitter: SubmitterLanes, limits: DispatchLimits, unansweredMayStart: boolean): Lane | undefined {
    for (let looked = submitter.line.length; looked > 0; looked--) {
      const lane = submitter.line.shift();
      if (lane === undefined) return undefined;
      // An emptied lane, or one whose destination is full, leaves the line; `offer` or `finished` brings it back.
      if (lane.head >= lane.waiting.length || !lane.destination.hasRoom(limits)) {
        lane.inLine = false;
        if (lane.head >= lane.waiting.length) this.#removeLane(lane);
        continue;
      }
      submitter.line.push(lane);
      if (lane.destination.answers || unansweredMayStart) return lane;
    }
    return undefined;
  }

  #start(lane: Lane): Job {
    const entry = this.#shift(lane);
    const { destination } = lane;
    // Lanes of a full destination leave their lines; they come back in this order, so whoever was served last comes last.
    const lanes = this.#lanes.get(destination);
    if (lanes !== undefined && lanes.size > 1 && lanes.delete(lane.submitter.name)) lanes.set(lane.submitter.name, lane);
    destination.active += 1;
    this.#active += 1;
    if (!destination.answers) {
      this.#unanswered.add(entry);
      this.#activeUnanswered += 1;
    }
    return { entry, destination };
  }

  #shift(lane: Lane): LeasedEntry {
    const entry = lane.waiting[lane.head] as LeasedEntry;
    lane.head += 1;
    this.#count(lane, entry, -1);
    if (lane.head >= lane.waiting.length) {
      lane.waiting.length = 0;
      lane.head = 0;
    } else if (lane.head > 64 && lane.head * 2 > lane.waiting.length) {
      lane.waiting.splice(0, lane.head);
      lane.head = 0;
    }
    return entry;
  }

  #count(lane: Lane, entry: LeasedEntry, sign: 1 | -1): void {
    this.#ready += sign;
    lane.submitter.ready += sign;
    if (entry.body.inMemory !== undefined) this.#bodyOctets += sign * entry.body.size;
  }

  #enterLine(lane: Lane): void {
    if (lane.head >= lane.waiting.length) return;
    const { submitter } = lane;
    if (!lane.inLine) {
      lane.inLine = true;
      submitter.line.push(lane);
    }
    if (!submitter.inLine) {
      submitter.inLine = true;
      this.#turns.push(submitter);
    }
  }

  #lane(destination: Destination, name: Submitter): Lane {
    let lanes = this.#lanes.get(destination);
    if (lanes === undefined) {
      lanes = new Map();
      this.#lanes.set(destination, lanes);
    }
    let lane = lanes.get(name);
    if (lane === undefined) {
      lane = { submitter: this.#submitter(name), destination, waiting: [], head: 0, inLine: false };
      lane.submitter.lanes += 1;
      lanes.set(name, lane);
    }
    return lane;
  }

  #submitter(name: Submitter): SubmitterLanes {
    let submitter = this.#submitters.get(name);
    if (submitter === undefined) {
      submitter = { name, line: [], ready: 0, inLine: false, lanes: 0 };
      this.#submitters.set(name, submitter);
    }
    return submitter;
  }

  #removeLane(lane: Lane): void {
    const { submitter, destination } = lane;
    this.#lanes.get(destination)?.delete(submitter.name);
    submitter.lanes -= 1;
    if (submitter.lanes === 0) this.#submitters.delete(submitter.name);
  }

  /** A destination without work, and with nothing worth remembering, costs no memory. */
  #forgetIfIdle(destination: Destination, now: number): void {
    if (destination.active > 0 || destination.isDown(now)) return;
    if (this.#destinations.size < REMEMBERED_DESTINATIONS && (destination.answers || destination.failuresInARow > 0)) return;
    // A lane that still stands in a line refers to it; it leaves when its turn comes.
    if ((this.#lanes.get(destination)?.size ?? 0) > 0) return;
    this.#lanes.delete(destination);
    this.#destinations.delete(destination.nextHop);
  }
}
