/**
 * (f) Lists. The first page and a deep page of a million tasks through our API, against hand-written SQL behind bare Koa.
 * Both read the same columns of the same rows by the same keyset; the peer knows nobody and checks nothing.
 */
import { Agent, request as open } from 'node:http';
import pg from 'pg';
import type { Installation } from './installation.ts';
import { type Figures, figuresOf, timeMs } from './statistics.ts';

const TASKS = 1_000_000;
const PAGE_LIMIT = 50;
/** The deep page is this one, counted from 1: half of the tasks stand before it. */
const DEEP_PAGE = 10_000;
/** Requests of each contender before the first that counts: code is compiled and plans are settled by them. */
const WARM_UP_COUNT = 300;

/** Latencies: milliseconds of a whole request. */
export interface ListFigures {
  tasks: number;
  limit: number;
  deepPage: number;
  /** Of the answers, by page. */
  bodyBytes: Record<string, { ours: number; peer: number }>;
  first: Comparison;
  deep: Comparison;
  /** A first page of one task: the difference is what a request costs us before the rows do. */
  oneTask: Comparison;
}

interface Comparison {
  ours: Figures;
  peer: Figures;
  /** Of the two medians of a round; of the rounds the median: others use the machine, too. */
  ratio: number;
}

export interface ListScale {
  rounds: number;
  samples: number;
}

export async function benchLists(
  installation: Installation,
  report: (what: string) => void,
  scale: ListScale,
): Promise<ListFigures> {
  report(`lists: writing ${TASKS} tasks`);
  const { deepAt, deepId } = await insertTasks(installation);
  const ready = await installation.startPeer('list-peer', {}, /list_peer_ready (\S+)/);
  const peerUrl = `http://${ready?.[1]}`;
  const agent = new Agent({ keepAlive: true });
  const read = (url: string): Promise<Buffer> => readBody(agent, url, installation.token);
  const both = (limit: number, query = '') => ({
    ours: () => read(`${installation.url}/v1/tasks?limit=${limit}${query}`),
    peer: () => read(`${peerUrl}/?limit=${limit}${query}`),
  });
  const cursor = Buffer.from(JSON.stringify([deepAt, deepId])).toString('base64url');
  const pages = {
    first: both(PAGE_LIMIT),
    deep: both(PAGE_LIMIT, `&cursor=${cursor}`),
    oneTask: both(1),
  };
  try {
    const bodyBytes: ListFigures['bodyBytes'] = {};
    for (const [name, page] of Object.entries(pages)) bodyBytes[name] = await compareBodies(name, page);
    for (const { ours, peer } of Object.values(pages)) {
      for (let n = 0; n < WARM_UP_COUNT; n++) {
        await ours();
        await peer();
      }
    }
    const compare = async (name: keyof typeof pages): Promise<Comparison> => {
      const { ours, peer } = pages[name];
      const all = { ours: [] as number[], peer: [] as number[] };
      const ratios: number[] = [];
      for (let round = 0; round < scale.rounds; round++) {
        report(`lists: ${name}, round ${round + 1} of ${scale.rounds}`);
        const now = { ours: [] as number[], peer: [] as number[] };
        for (let n = 0; n < scale.samples; n++) {
          // The order changes, so that none always follows the other.
          const order = n % 2 === 0 ? (['ours', 'peer'] as const) : (['peer', 'ours'] as const);
          for (const each of order) now[each].push(await timeMs(each === 'ours' ? ours : peer));
        }
        ratios.push(figuresOf(now.ours).p50 / figuresOf(now.peer).p50);
        all.ours.push(...now.ours);
        all.peer.push(...now.peer);
      }
      return { ours: figuresOf(all.ours), peer: figuresOf(all.peer), ratio: figuresOf(ratios).p50 };
    };
    const first = await compare('first');
    const deep = await compare('deep');
    const oneTask = await compare('oneTask');
    return { tasks: TASKS, limit: PAGE_LIMIT, deepPage: DEEP_PAGE, bodyBytes, first, deep, oneTask };
  } finally {
    agent.destroy();
  }
}

/** @throws when the two do not answer the same tasks with the same fields: then there is nothing to compare */
export async function compareBodies(
  name: string,
  { ours, peer }: { ours: () => Promise<Buffer>; peer: () => Promise<Buffer> },
): Promise<{ ours: number; peer: number }> {
  const [a, b] = [await ours(), await peer()];
  const [ourPage, peerPage] = [a, b].map((body) => JSON.parse(body.toString()) as { items: object[] });
  const fields = (page: typeof ourPage): string => JSON.stringify(page?.items.map(leavesOf));
  if (fields(ourPage) !== fields(peerPage)) throw new Error(`the ${name} page of the two is not the same`);
  return { ours: a.byteLength, peer: b.byteLength };
}

/** All values in an order of their own: the two may group and order their fields differently. */
const leavesOf = (value: unknown): string[] =>
  typeof value === 'object' && value !== null
    ? Object.values(value).flatMap(leavesOf).sort()
    : [JSON.stringify(value)];

/** One request; compression is not asked for, as the peer has none. @throws for another status than 200 */
function readBody(agent: Agent, url: string, token: string): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const request = open(url, { agent, headers: { authorization: `Bearer ${token}` } }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => {
        if (response.statusCode === 200) resolve(Buffer.concat(chunks));
        else reject(new Error(`a list was answered with ${response.statusCode}`));
      });
      response.on('error', reject);
    });
    request.on('error', reject);
    request.end();
  });
}

/**
 * Ended tasks of many people, one a second into the past, straight into the table: no workflow shall run beside what is
 * measured. Returns the last one before the deep page.
 */
async function insertTasks({ databaseUrl }: Installation): Promise<{ deepAt: number; deepId: string }> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  try {
    // Ids rise with time, as those of the house (UUIDv7) do.
    await client.query(
      `insert into tasks (id, public_id, kind, title, goal, mode, state, creator_kind, creator_id, creator_name, target,
                          step_no, max_steps, deadline_at, approval_timeout_ms, command_timeout_ms, expiry_ms, ended_at,
                          result, seal_sha256, rev, created_at)
       select id, cast(id as text), 'task', 'Free space on host ' || n,
              'Find out what fills the disk of host ' || n || ' and remove what is older than a month', 'supervised',
              case when n % 10 = 0 then 'failed' else 'completed' end, 'user', 'user-' || n % 1000, 'user-' || n % 1000,
              '{"any": true}', 3, 25, now() + interval '7 days', 86400000, 30000, 86400000, now(),
              '{"success": true, "summary": "Removed 12 files, 3.4 GB are free again.", "reason": null}',
              encode(sha256(convert_to(cast(n as text), 'UTF8')), 'hex'), 9, at
       from (select n, at, cast(lpad(to_hex(cast(extract(epoch from at) * 1000 as bigint)), 12, '0') || '7'
                                || lpad(to_hex(n % 4096), 3, '0') || '8' || lpad(to_hex(n), 15, '0') as uuid) as id
             from (select n, date_trunc('second', now()) - n * interval '1 second' as at
                   from generate_series(cast($1 as integer), 1, -1) as n) as numbered) as made`,
      [TASKS],
    );
    await client.query('vacuum (analyze) tasks');
    // Checkpoints of what was just written are not to fall into the measurement.
    await client.query('checkpoint');
    const { rows } = await client.query<{ id: string; at: Date }>(
      `select id, created_at as at from tasks where deleted_at is null and archived_at is null
       order by created_at desc, id desc offset $1 limit 1`,
      [(DEEP_PAGE - 1) * PAGE_LIMIT - 1],
    );
    const last = rows[0];
    if (last === undefined) throw new Error('there is no deep page');
    return { deepAt: last.at.getTime(), deepId: last.id };
  } finally {
    await client.end();
  }
}
