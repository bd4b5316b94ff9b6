/**
 * Store what agents report, set-based: a flush starts at once when none is under way, and takes all that gathered
 * meanwhile. One lane, so the frames of a command keep their order.
 */
import { type Ack, recordReports } from '../../domain/commands/record.ts';
import type { Report } from '../../domain/commands/report.ts';
import type { DomainDeps } from '../../domain/deps.ts';
import type { AgentSocket } from './agent-socket.ts';

/** Most reports of one transaction. */
const MAX_FLUSH_REPORTS = 500;
/** Most bytes of frames in one transaction (a single larger frame cannot exist: frames end at 1 MiB). */
const MAX_FLUSH_BYTES = 4 * 1024 * 1024;

export interface Recorder {
  push(socket: AgentSocket, report: Report, bytes: number): void;
  /** Resolves when everything pushed so far is stored or given up. */
  flush(): Promise<void>;
}

interface Entry {
  socket: AgentSocket;
  report: Report;
  bytes: number;
}

export interface RecorderDeps {
  domain: DomainDeps;
  /** Send the ack to the agent's present socket. */
  acknowledge(ack: Ack): void;
  /** A set could not be stored: its agents must connect again and resend what was not acked. */
  onLost(sockets: ReadonlySet<AgentSocket>, error: unknown): void;
}

export function createRecorder(deps: RecorderDeps): Recorder {
  let queue: Entry[] = [];
  let flushing: Promise<void> | undefined;

  const take = (): Entry[] => {
    let bytes = 0;
    let count = 0;
    for (const entry of queue) {
      if (count > 0 && (count >= MAX_FLUSH_REPORTS || bytes + entry.bytes > MAX_FLUSH_BYTES)) break;
      bytes += entry.bytes;
      count += 1;
    }
    const taken = queue.slice(0, count);
    queue = queue.slice(count);
    return taken;
  };

  const store = async (entries: readonly Entry[]): Promise<void> => {
    try {
      const acks = await recordReports(
        deps.domain,
        entries.map((entry) => entry.report),
      );
      // After this turn: whoever waits for an outcome is answered before the agents are.
      setImmediate(() => acks.forEach(deps.acknowledge));
    } catch (error) {
      const sets = bySocket(entries);
      if (sets.size === 1 || !isAboutValues(error)) return deps.onLost(new Set(sets.keys()), error);
      // One agent's report cannot be stored: the others must not suffer for it.
      for (const set of sets.values()) await store(set);
    }
  };

  const run = async (): Promise<void> => {
    while (queue.length > 0) {
      const entries = take();
      await store(entries);
      for (const entry of entries) entry.socket.stored(entry.bytes);
    }
    flushing = undefined;
  };

  return {
    push(socket, report, bytes) {
      queue.push({ socket, report, bytes });
      // After the frames that came with this one were read: they go into the same transaction.
      flushing ??= new Promise<void>((resolve) => setImmediate(resolve)).then(run);
    },
    flush: async () => {
      while (flushing !== undefined) await flushing;
    },
  };
}

function bySocket(entries: readonly Entry[]): Map<AgentSocket, Entry[]> {
  const sets = new Map<AgentSocket, Entry[]>();
  for (const entry of entries) sets.set(entry.socket, [...(sets.get(entry.socket) ?? []), entry]);
  return sets;
}

/** SQLSTATE classes 22 (data exception) and 23 (integrity): the values are to blame, not the database. */
const isAboutValues = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && /^2[23]/.test(String(error.code));
