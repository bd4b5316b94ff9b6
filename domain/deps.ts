/** What domain functions are given: narrow ports, built by the composition roots (`api/server.ts`, `worker/service.ts`). */
import type { Act, ActBinding } from '../contracts/act.ts';
import type { Principal } from '../contracts/principal.ts';
import type { BatchRow } from '../db/batches.ts';
import type { CommandRow } from '../db/commands.ts';
import type { Db } from '../db/database.ts';
import type { EventRow } from '../db/events.ts';
import type { OutboxRow } from '../db/outbox.ts';

/** One structured event name per fact; ids always, secrets never. */
export interface Log {
  debug(fields: { event: string; [field: string]: unknown }): void;
  info(fields: { event: string; [field: string]: unknown }): void;
  warn(fields: { event: string; [field: string]: unknown }): void;
  error(fields: { event: string; [field: string]: unknown }): void;
}

/** Who asks, and by which request. Handler requests have this shape. */
export interface Actor {
  principal: Principal;
  /** Client address, or null inside the system. */
  address: string | null;
  requestId: string | null;
}

/** Told after a commit, never before. Losing what it says costs latency only: every listener also polls. */
export interface Announcer {
  events(rows: readonly EventRow[]): void;
  /** Batches that ended just now, with all their commands; told before their events, and not of every batch. */
  batches?(finished: readonly FinishedBatch[]): void;
  /** Commands wait for these agents, or a cancel concerns them. */
  agents(agentIds: readonly string[]): void;
  /** Output of these commands was stored. */
  output(commandIds: readonly string[]): void;
  /** Deliver to Temporal at once, in the background and with a deadline; what fails stays for the drainer. */
  outbox(rows: readonly OutboxRow[]): void;
}

/** A batch none of whose commands is pending any more, and those commands, as they were committed. */
export interface FinishedBatch {
  batch: BatchRow;
  commands: readonly CommandRow[];
}

/** Sockets that this very process holds, so that a command for one of them is inserted as sent and goes out at once. */
export interface LocalSockets {
  /** Connected, websocket-delivered, not draining agents of `agentIds` with their epochs. */
  epochsOf(agentIds: readonly string[]): ReadonlyMap<string, number>;
  /** The default shell that an agent connected here has named in its hello. */
  defaultShellOf(agentId: string): string | undefined;
  /** What an agent connected here has told of its shells in its hello. */
  shellsOf(agentId: string): { os: string; shells: string[]; defaultShell: string } | undefined;
  /** Send these commands now: they are committed as `sent` at these epochs. */
  dispatch(orders: readonly DispatchOrder[]): void;
}

/** A command that is committed as sent, with all that its frame needs. */
export interface DispatchOrder {
  commandId: string;
  agentId: string;
  epoch: number;
  digest: string;
  act: Act;
  binding: ActBinding;
}

/** Configured bounds of what clients may ask for. */
export interface DomainLimits {
  defaultTimeoutMs: number;
  maxTimeoutMs: number;
  outputCapBytes: number;
}

export interface DomainDeps {
  db: Db;
  log: Log;
  announce: Announcer;
  limits: DomainLimits;
  /** Only in a process that holds agent sockets. */
  sockets?: LocalSockets;
}

/** The actor of the workflows and duties. */
export const engineActor: Actor = {
  principal: { kind: 'system', id: 'engine', name: 'engine', roles: ['system'], sessionId: null },
  address: null,
  requestId: null,
};
