/**
 * How many event streams and event sockets a principal holds open here. Each of them keeps a connection and up to a
 * megabyte of buffer for as long as it likes, so no rate limit bounds them, and agents need the same connections.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { problem } from '../contracts/errors.ts';
import type { Principal } from '../contracts/principal.ts';

/** Streams and sockets of one principal in one process. */
export const MAX_STREAMS_OF_PRINCIPAL = 500;
/** What a client that holds too many is told to wait. */
const RETRY_AFTER_SECONDS = 10;

/** Longest wait for writers whose streams have ended, milliseconds. */
const WRITERS_DEADLINE_MS = 5_000;

export interface OpenStreams {
  /** Count one more; call what it returns when that one has ended. @throws rate_limited */
  enter(principal: Principal | null): () => void;
  /** The writer of a stream, which may have something to store after its stream has ended. Must not reject. */
  writing(writer: Promise<void>): void;
  /** Resolves when all of them have finished, or waiting longer makes no sense. */
  settled(): Promise<void>;
}

export function createOpenStreams({ max = MAX_STREAMS_OF_PRINCIPAL }: { max?: number } = {}): OpenStreams {
  const counts = new Map<string, number>();
  const writers = new Set<Promise<void>>();
  return {
    writing(writer) {
      writers.add(writer);
      void writer.then(() => writers.delete(writer));
    },
    async settled() {
      if (writers.size === 0) return;
      const enough = new AbortController();
      const deadline = delay(WRITERS_DEADLINE_MS, undefined, { signal: enough.signal }).catch(
        () => undefined,
      );
      await Promise.race([Promise.all(writers), deadline]);
      enough.abort();
    },
    enter(principal) {
      if (principal === null) return () => {};
      const key = `${principal.kind}:${principal.id}`;
      const open = counts.get(key) ?? 0;
      if (open >= max) {
        const headers = { 'Retry-After': String(RETRY_AFTER_SECONDS) };
        throw problem('rate_limited', { seconds: RETRY_AFTER_SECONDS }, { headers });
      }
      counts.set(key, open + 1);
      let hasLeft = false;
      return () => {
        if (hasLeft) return;
        hasLeft = true;
        const left = (counts.get(key) ?? 1) - 1;
        if (left > 0) counts.set(key, left);
        else counts.delete(key);
      };
    },
  };
}
