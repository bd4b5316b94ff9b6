import { createHash, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { outputEndSchema, outputEventSchema } from '../../contracts/command-routes.ts';
import type { BatchView } from '../../contracts/commands.ts';
import { markOverdueUnknown } from '../../domain/commands/overdue.ts';
import { openSse, type SseEvent } from '../support/event-streams.ts';
import { type House, startHouse, type TestAgent } from '../support/house.ts';

let house: House;
beforeAll(async () => {
  house = await startHouse();
});
afterAll(() => house.close());

/** A command that runs. */
async function running(): Promise<{ agent: TestAgent; commandId: string }> {
  const agentId = await house.addAgent();
  const agent = await house.connect(agentId);
  await house.ask<BatchView>('POST', '/v1/commands', { agentIds: [agentId], act: { command: 'x' } });
  const [commandId = ''] = await agent.claim();
  await agent.start(commandId);
  return { agent, commandId };
}

async function read(commandId: string, path: string) {
  const headers = { Authorization: 'Bearer admin:ada' };
  const response = await house.server.fetch(`/v1/commands/${commandId}/output/${path}`, { headers });
  const facts = ['offset', 'next-offset', 'stored-bytes', 'complete', 'truncated'].map((name) =>
    response.headers.get(`X-Output-${name}`),
  );
  return { status: response.status, response, facts, bytes: Buffer.from(await response.arrayBuffer()) };
}

const hostile = Buffer.from([0, 255, 254, 10, 0xc3, 0x28, 0xf0, 0x9f, 0, 13, 10]);

describe('stored output', () => {
  it('is byte-exact with NUL and invalid UTF-8, in ranges and while it grows', async () => {
    const { agent, commandId } = await running();
    expect((await read(commandId, 'stdout')).facts).toEqual(['0', '0', '0', 'false', 'false']);
    await agent.write(commandId, 'stdout', hostile);
    const all = await read(commandId, 'stdout');
    expect(all.response.headers.get('Content-Type')).toBe('application/octet-stream');
    expect(all.response.headers.get('X-Content-Type-Options')).toBe('nosniff');
    expect([all.bytes, all.facts]).toEqual([hostile, ['0', '11', '11', 'false', 'false']]);
    const part = await read(commandId, 'stdout?offset=3&limit=4');
    expect([part.bytes, part.facts]).toEqual([hostile.subarray(3, 7), ['3', '7', '11', 'false', 'false']]);
    const past = await read(commandId, 'stdout?offset=99');
    expect([past.bytes.length, past.facts]).toEqual([0, ['99', '99', '11', 'false', 'false']]);
    await agent.write(commandId, 'stdout', Buffer.from('more'));
    await agent.finish(commandId);
    const rest = await read(commandId, 'stdout?offset=11');
    expect([rest.bytes.toString(), rest.facts]).toEqual(['more', ['11', '15', '15', 'true', 'false']]);
    expect((await read(commandId, 'stderr')).facts).toEqual(['0', '0', '0', 'true', 'false']);
    for (const bad of ['stdin', 'stdout?offset=-1', 'stdout?limit=0', 'stdout?ofset=1']) {
      expect((await read(commandId, bad)).status, bad).toBe(422);
    }
  });

  it('is sent in parts, whatever its size', async () => {
    const { agent, commandId } = await running();
    const bytes = randomBytes(3 * 1024 * 1024 + 17);
    await agent.write(commandId, 'stdout', bytes);
    const all = await read(commandId, 'stdout');
    expect(all.response.headers.get('Content-Length')).toBe(String(bytes.length));
    expect(createHash('sha256').update(all.bytes).digest('hex')).toBe(
      createHash('sha256').update(bytes).digest('hex'),
    );
    // Around the borders of stored chunks.
    for (const offset of [65_535, 65_536, 65_537, 131_071]) {
      const part = await read(commandId, `stdout?offset=${offset}&limit=65537`);
      expect(part.bytes.equals(bytes.subarray(offset, offset + 65_537)), String(offset)).toBe(true);
    }
  });
});

describe('live output', () => {
  const open = (commandId: string, headers: Record<string, string> = {}, as = 'admin:ada') =>
    openSse(`${house.server.url()}/v1/commands/${commandId}/output`, {
      Authorization: `Bearer ${as}`,
      ...headers,
    });
  const bytesOf = (events: readonly SseEvent[], stream: string) =>
    Buffer.concat(
      events
        .filter(({ event }) => event === 'output')
        .map(({ data }) => outputEventSchema.parse(data))
        .filter((data) => data.stream === stream)
        .map((data) => Buffer.from(data.bytes, 'base64')),
    );

  it('comes as it is stored and ends with the outcome', async () => {
    const { agent, commandId } = await running();
    await agent.write(commandId, 'stdout', Buffer.from('first\n'));
    const client = await open(commandId);
    await client.until((events) => events.length === 1);
    await agent.write(commandId, 'stderr', hostile);
    await client.until((events) => events.length === 2);
    expect(client.events).toEqual([
      {
        id: '6.0',
        event: 'output',
        data: { stream: 'stdout', offset: 0, bytes: 'Zmlyc3QK', text: 'first\n' },
      },
      {
        id: '6.11',
        event: 'output',
        data: { stream: 'stderr', offset: 0, bytes: hostile.toString('base64') },
      },
    ]);
    await agent.finish(commandId, { exitCode: 2 });
    await client.ended;
    const last = client.events.at(-1);
    expect(last).toMatchObject({ id: '6.11', event: 'end' });
    expect(outputEndSchema.parse(last?.data)).toMatchObject({
      state: 'failed',
      exitCode: 2,
      stdout: { bytes: 6, truncated: false },
      stderr: { bytes: 11 },
    });
  });

  it('resumes at any id without a gap or a repeat, also after the end', async () => {
    const { agent, commandId } = await running();
    const out = randomBytes(2 * 1024 * 1024);
    const seen: SseEvent[] = [];
    let lastEventId = '0.0';
    // Cut the connection again and again while the output grows.
    for (let part = 0; part < 8; part++) {
      const client = await open(commandId, { 'Last-Event-ID': lastEventId });
      await agent.write(
        commandId,
        part % 2 === 0 ? 'stdout' : 'stderr',
        out.subarray(part << 18, (part + 1) << 18),
      );
      await client.until((events) => events.length >= 1 + (part % 3));
      client.close();
      await client.ended;
      seen.push(...client.events);
      lastEventId = client.events.at(-1)?.id ?? lastEventId;
    }
    await agent.finish(commandId);
    const last = await open(commandId, { 'Last-Event-ID': lastEventId });
    await last.ended;
    seen.push(...last.events);
    const written = (parity: number) =>
      Buffer.concat(
        [0, 1, 2, 3].map((n) => out.subarray((2 * n + parity) << 18, (2 * n + parity + 1) << 18)),
      );
    expect(bytesOf(seen, 'stdout').equals(written(0))).toBe(true);
    expect(bytesOf(seen, 'stderr').equals(written(1))).toBe(true);
    expect(seen.at(-1)?.event).toBe('end');
    const after = await open(commandId, { 'Last-Event-ID': seen.at(-1)?.id ?? '' });
    await after.ended;
    expect(after.events.map(({ event }) => event)).toEqual(['end']);
  });

  it('does not drop a client that reads, however much is stored', async () => {
    const { agent, commandId } = await running();
    // NUL is six bytes as JSON text: far more than a stream may buffer.
    await agent.write(commandId, 'stdout', Buffer.alloc(4 * 1024 * 1024));
    await agent.finish(commandId);
    const client = await open(commandId);
    await client.ended;
    expect(bytesOf(client.events, 'stdout').equals(Buffer.alloc(4 * 1024 * 1024))).toBe(true);
    expect(client.events.at(-1)?.event).toBe('end');
  });

  it('ends with unknown when the agent went silent', async () => {
    const { commandId } = await running();
    const client = await open(commandId);
    await house
      .db('commands')
      .update({ overdue_at: new Date(0) })
      .where({ command_id: commandId });
    await markOverdueUnknown(house.deps, 10);
    await client.ended;
    expect(client.events).toMatchObject([
      { event: 'end', data: { state: 'unknown', reason: 'agent_silent' } },
    ]);
  });

  it('refuses ids that were never given out', async () => {
    const { commandId } = await running();
    for (const id of ['junk', '1.0', '0', '0.0.0', '-1.0']) {
      const client = await open(commandId, { 'Last-Event-ID': id });
      expect(client.response.status, id).toBe(422);
    }
  });

  it('ends within five seconds after the session was revoked', async () => {
    const { commandId } = await running();
    const { accessToken, sessionId } = await house.login();
    const client = await open(commandId, {}, accessToken);
    expect(client.response.status).toBe(200);
    const began = performance.now();
    await house
      .db('sessions')
      .update({ revoked_at: new Date(), revoked_reason: 'revoked' })
      .where({ id: sessionId });
    await client.ended;
    expect(performance.now() - began).toBeLessThan(5_000);
    expect((await open(commandId, {}, accessToken)).response.status).toBe(401);
  });
});
