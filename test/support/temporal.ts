/** The Temporal dev server of the run, from a test. */
import { randomBytes } from 'node:crypto';
import { basename } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { expect, inject } from 'vitest';
import { isUnanswered } from '../../temporal/failures.ts';

/** An answer that has not come after this long will not come, milliseconds. */
const ANSWER_DEADLINE_MS = 3_000;

/** `host:port` of the frontend. */
export function temporalAddress(): string {
  return inject('temporalAddress');
}

export const TEMPORAL_NAMESPACE = 'default';

/** A task queue no other test uses; its name begins with that of the test file. */
export function uniqueTaskQueue(): string {
  const file = basename(expect.getState().testPath ?? 'test').replace(/\.test\.ts$/, '');
  return `${file}-${randomBytes(6).toString('hex')}`;
}

/** A client on a connection of its own; the test closes it. */
export async function connectTemporal(): Promise<{
  client: Client;
  connection: Connection;
  close(): Promise<void>;
}> {
  const connection = await Connection.connect({ address: temporalAddress() });
  const client = new Client({ connection, namespace: TEMPORAL_NAMESPACE });
  return { client, connection, close: () => connection.close() };
}

/** Runs with a client and closes its connection afterwards. */
export async function withTemporal<T>(run: (client: Client) => Promise<T>): Promise<T> {
  const { client, close } = await connectTemporal();
  try {
    return await run(client);
  } finally {
    await close();
  }
}

/** Asks a workflow, or a schedule, which is one: servers before 1.30 lose the answer now and then. */
export async function untilAnswered<T>(client: Client, ask: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await client.withDeadline(Date.now() + ANSWER_DEADLINE_MS, ask);
    } catch (error) {
      if (!isUnanswered(error)) throw error;
    }
  }
}
