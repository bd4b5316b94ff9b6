/**
 * (c) Logins. Whether the time of a refusal tells that a name exists, and whether a crowd that logs in keeps everybody
 * else waiting.
 */
import { randomBytes, randomInt, randomUUID } from 'node:crypto';
import { WebSocket } from 'ws';
import type { Installation } from './installation.ts';
import { type Figures, figuresOf, timeMs } from './statistics.ts';

const PASSWORD = 'Bench-Wrong-Never-7';
const LOGINS_AT_ONCE = 100;
/** Wrong passwords that an account takes before it is locked, less one. */
const GUESSES_PER_ACCOUNT = 4;
const PROBE_EVERY_MS = 10;

export interface LoginFigures {
  /** Wrong passwords, milliseconds. */
  known: Figures;
  knownAgain: Figures;
  unknown: Figures;
  /** Mean over the rounds of the difference of medians, milliseconds. */
  sameDifferenceMs: number;
  unknownDifferenceMs: number;
  /** `GET /livez`, milliseconds. */
  idle: Tail;
  crowded: Tail;
  /** How many of the crowd were answered with which status. */
  statuses: Record<string, number>;
  /** Every refused one was told when to come back, and the open socket stayed open. */
  isOrderly: boolean;
}

interface Tail extends Figures {
  p99: number;
}

export async function benchLogins(
  installation: Installation,
  report: (what: string) => void,
  scale: { rounds: number; samples: number; probes: number },
): Promise<LoginFigures> {
  const url = await startLoginApi(installation);
  const accounts = Math.ceil((2 * scale.rounds * scale.samples) / GUESSES_PER_ACCOUNT);
  report(`logins: making ${accounts} accounts`);
  const names = Array.from({ length: accounts }, () => `bench-${randomUUID()}`);
  for (const username of names) {
    await installation.call('POST', '/v1/users', { username, password: 'Bench-Correct-Horse-8' });
  }
  const timing = await compareNames(url, names, report, scale);
  report('logins: a crowd');
  return { ...timing, ...(await probeCrowd(installation, url, scale.probes)) };
}

async function startLoginApi({ databaseUrl, startPeer }: Installation): Promise<string> {
  const env = { DATABASE_URL: databaseUrl, TRUST_PROXY_HOPS: '1' };
  const match = await startPeer('login-api', env, /"event":"api_ready".*?"url":"([^"]+)"/);
  const url = match?.[1];
  if (url === undefined) throw new Error('the second API did not say where it listens');
  return url;
}

/** From a new address each time: what is measured is no address's limit. */
async function logIn(url: string, username: string, password: string): Promise<Response> {
  const address = `10.${randomInt(256)}.${randomInt(256)}.${randomInt(256)}`;
  const response = await fetch(`${url}/v1/auth/login`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-forwarded-for': address },
    body: JSON.stringify({ username, password }),
  });
  await response.arrayBuffer();
  return response;
}

/** Known names against known names (how much chance alone differs) and against unknown ones, interleaved. */
async function compareNames(
  url: string,
  names: readonly string[],
  report: (what: string) => void,
  { rounds, samples }: { rounds: number; samples: number },
) {
  const all = { known: [] as number[], knownAgain: [] as number[], unknown: [] as number[] };
  const differences = { same: [] as number[], unknown: [] as number[] };
  const median = (values: readonly number[]): number => figuresOf(values).p50;
  let guesses = 0;
  const knownName = (): string => names[Math.floor(guesses++ / GUESSES_PER_ACCOUNT)] ?? '';
  const unknownName = (): string => `bench-${randomUUID()}`;
  const refused = async (username: string): Promise<void> => {
    const { status } = await logIn(url, username, PASSWORD);
    if (status !== 401) throw new Error(`a wrong password was answered with ${status}`);
  };
  for (let i = 0; i < 3; i++) await refused(unknownName());
  for (let round = 0; round < rounds; round++) {
    report(`logins: round ${round + 1} of ${rounds}`);
    const now = { known: [] as number[], knownAgain: [] as number[], unknown: [] as number[] };
    const contenders = [
      [now.known, knownName],
      [now.unknown, unknownName],
      [now.knownAgain, knownName],
    ] as const;
    for (let i = 0; i < samples; i++) {
      // The order changes, so that none always follows the same other.
      for (let turn = 0; turn < contenders.length; turn++) {
        const [times, nameOf] = contenders[(turn + i) % contenders.length] ?? contenders[0];
        const name = nameOf();
        times.push(await timeMs(() => refused(name)));
      }
    }
    differences.same.push(Math.abs(median(now.known) - median(now.knownAgain)));
    differences.unknown.push(Math.abs(median(now.known) - median(now.unknown)));
    all.known.push(...now.known);
    all.knownAgain.push(...now.knownAgain);
    all.unknown.push(...now.unknown);
  }
  return {
    known: figuresOf(all.known),
    knownAgain: figuresOf(all.knownAgain),
    unknown: figuresOf(all.unknown),
    sameDifferenceMs: mean(differences.same),
    unknownDifferenceMs: mean(differences.unknown),
  };
}

const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

/** `/livez` with nothing else to do, and while a hundred people log in at once. */
async function probeCrowd(installation: Installation, url: string, probes: number) {
  const idle: number[] = [];
  const socket = await openSocket(url, installation.token);
  for (let i = 0; i < probes; i++) idle.push(await probe(url));
  const crowd = Array.from({ length: LOGINS_AT_ONCE }, () =>
    logIn(url, `bench-${randomBytes(8).toString('hex')}`, PASSWORD),
  );
  let isOver = false;
  const answers = Promise.all(crowd).finally(() => {
    isOver = true;
  });
  const crowded: number[] = [];
  while (!isOver) crowded.push(await probe(url));
  const statuses: Record<string, number> = {};
  let isOrderly = socket.readyState === WebSocket.OPEN;
  for (const { status, headers } of await answers) {
    statuses[status] = (statuses[status] ?? 0) + 1;
    if (status >= 429 && headers.get('retry-after') === null) isOrderly = false;
  }
  socket.terminate();
  return { idle: tailOf(idle), crowded: tailOf(crowded), statuses, isOrderly };
}

async function probe(url: string): Promise<number> {
  await new Promise((resolve) => setTimeout(resolve, PROBE_EVERY_MS));
  return timeMs(async () => (await fetch(`${url}/livez`)).arrayBuffer());
}

function tailOf(samples: readonly number[]): Tail {
  const sorted = [...samples].sort((a, b) => a - b);
  const p99 = sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * 0.99))] ?? Number.NaN;
  return { ...figuresOf(samples), p99 };
}

function openSocket(url: string, token: string): Promise<WebSocket> {
  const headers = { authorization: `Bearer ${token}` };
  const socket = new WebSocket(`${url.replace('http', 'ws')}/v1/events`, { headers });
  return new Promise((resolve, reject) => {
    socket.once('open', () => resolve(socket));
    socket.once('error', reject);
  });
}
