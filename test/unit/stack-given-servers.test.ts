/** What a person reads when DATABASE_URL or TEMPORAL_ADDRESS is wrong. */

import type { AddressInfo } from 'node:net';
import { createServer, type Server, type Socket } from 'node:net';
import { afterEach, describe, expect, inject, it } from 'vitest';
import { assertDatabase, assertTemporal } from '../../stack/given-servers.ts';
import type { StackLog } from '../../stack/log-port.ts';
import { temporalAddress } from '../support/temporal.ts';

const silent: StackLog = { info() {}, warn() {} };
/** So that a server which cannot be reached is asked once. */
const impatient = { log: silent, patienceMs: 0 };

const servers: Server[] = [];
const sockets: Socket[] = [];

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  for (const server of servers.splice(0)) await new Promise((resolve) => server.close(resolve));
});

/** A port on which connections are taken and nothing is said. `heard` resolves at the first one. */
async function openDeafPort(): Promise<{ port: number; heard: Promise<void> }> {
  const server = createServer();
  servers.push(server);
  const heard = new Promise<void>((resolve) => {
    server.on('connection', (socket) => {
      sockets.push(socket.on('error', () => {}));
      resolve();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { port: (server.address() as AddressInfo).port, heard };
}

/** A port of this machine that nobody listens on. */
async function findClosedPort(): Promise<number> {
  const { port } = await openDeafPort();
  await new Promise((resolve) => servers.pop()?.close(resolve));
  return port;
}

function databaseUrl(change: (url: URL) => void): string {
  const url = new URL(inject('postgresUrl'));
  change(url);
  return url.href;
}

async function messageOf(run: Promise<void>): Promise<string> {
  return run.then(
    () => 'accepted',
    (error: Error) => error.message,
  );
}

describe('DATABASE_URL', () => {
  it('is taken when the database answers', async () => {
    await assertDatabase(impatient, inject('postgresUrl'));
  });

  it('with a wrong password: names server and user, never the password', async () => {
    const url = databaseUrl((changed) => {
      changed.password = 'hunter2';
    });
    const message = await messageOf(assertDatabase(impatient, url));
    const { username, host } = new URL(url);
    expect(message).toContain(`DATABASE_URL: PostgreSQL at ${username}@${host}/`);
    expect(message).toMatch(/refused the user or the password .*\nFix: correct the user and the password/);
    expect(message).not.toContain('hunter2');
  });

  it('with an unknown database: names it, and how to go on', async () => {
    const url = databaseUrl((changed) => {
      changed.pathname = '/nowhere';
    });
    expect(await messageOf(assertDatabase(impatient, url))).toMatch(
      /^DATABASE_URL: PostgreSQL at \S+\/nowhere has no such database .*\nFix: create that database/,
    );
  });

  it('with a place that cannot be reached: says what was tried', async () => {
    const port = await findClosedPort();
    const url = `postgres://u:hunter2@127.0.0.1:${port}/x`;
    expect(await messageOf(assertDatabase(impatient, url))).toBe(
      `DATABASE_URL: PostgreSQL at u@127.0.0.1:${port}/x cannot be reached (connect ECONNREFUSED 127.0.0.1:${port}) ` +
        '(asked once).\nFix: start that server, or correct host and port in DATABASE_URL, ' +
        'or unset DATABASE_URL: then Steelthread starts a PostgreSQL of its own.',
    );
    const host = 'postgres://u@host.invalid/x';
    expect(await messageOf(assertDatabase(impatient, host))).toMatch(/host\.invalid\/x cannot be reached/);
  });

  it('with a percent sign of its own: says how to write it', async () => {
    expect(await messageOf(assertDatabase(impatient, 'postgres://u:100%@db/x'))).toMatch(/%25/);
  });

  it('is no longer waited for when the start is given up', async () => {
    const { port, heard } = await openDeafPort();
    const controller = new AbortController();
    const reason = new Error('given up');
    const asking = assertDatabase(
      { log: silent, signal: controller.signal },
      `postgres://u@127.0.0.1:${port}/x`,
    );
    await heard;
    controller.abort(reason);
    await expect(asking).rejects.toBe(reason);
  });
});

describe('TEMPORAL_ADDRESS', () => {
  it('is taken when the server knows the namespace', async () => {
    await assertTemporal(impatient, { address: temporalAddress(), namespace: 'default' });
  });

  it('with an unknown namespace: names it, and how to make it', async () => {
    const options = { address: temporalAddress(), namespace: 'nowhere' };
    expect(await messageOf(assertTemporal(impatient, options))).toBe(
      `TEMPORAL_ADDRESS: Temporal at ${options.address} has no namespace nowhere.\n` +
        'Fix: make the namespace (temporal operator namespace create -n nowhere), or correct TEMPORAL_NAMESPACE.',
    );
  });

  it('with a place that cannot be reached: says so once, asks again, and says what was tried', async () => {
    const address = `127.0.0.1:${await findClosedPort()}`;
    const warnings: unknown[] = [];
    const log: StackLog = { info() {}, warn: (_fields, message) => void warnings.push(message) };
    const asking = assertTemporal({ log, patienceMs: 1 }, { address, namespace: 'default' });
    const message = await messageOf(asking);
    expect(message).toMatch(
      /^TEMPORAL_ADDRESS: Temporal at \S+ cannot be reached \(connect ECONNREFUSED [\d.:]+\) \(asked .*\)\.\nFix: /,
    );
    expect(message).toContain('unset TEMPORAL_ADDRESS');
    expect(message.split('\n')).toHaveLength(2);
    expect(warnings.length).toBeLessThanOrEqual(1);
    const nowhere = { address: 'host.invalid:7233', namespace: 'default' };
    expect(await messageOf(assertTemporal(impatient, nowhere))).toMatch(
      /host\.invalid:7233 cannot be reached/,
    );
  });

  it('is no longer waited for when the start is given up', async () => {
    const { port, heard } = await openDeafPort();
    const controller = new AbortController();
    const reason = new Error('given up');
    const asking = assertTemporal(
      { log: silent, signal: controller.signal },
      { address: `127.0.0.1:${port}`, namespace: 'default' },
    );
    await heard;
    controller.abort(reason);
    await expect(asking).rejects.toBe(reason);
  });
});
