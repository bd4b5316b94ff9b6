/**
 * (d) Chat. What a token costs on its way from the provider through us to a client, against a bare pipe on the same way:
 * both begin when the provider writes the token and end when the client has it.
 */
import { Agent, type ClientRequest, type IncomingMessage, request as open } from 'node:http';
import type { Installation } from './installation.ts';
import { type Figures, figuresOf } from './statistics.ts';

const STREAMS_AT_ONCE = 200;
/** Between two tokens of one stream, milliseconds. */
const ALONE_EVERY_MS = 5;
const CROWD_EVERY_MS = 200;
/** First tokens of a stream that are not counted: connections and code are warmed by them. */
const WARM_TOKENS = 5;
/**
 * Streams that hardly ran side by side (a busy machine opens two hundred too slowly) are measured again, twice as long.
 * So often; then the round is left out.
 */
const MAX_ATTEMPTS = 3;
/** Tokens that came while every stream ran, of all streams: with fewer a median says nothing. */
const MIN_COMMON_TOKENS = 100;
/** A stream that does not end is no measurement, milliseconds. */
const STREAM_TIMEOUT_MS = 120_000;

/** Latencies: milliseconds from the provider's write to the client's read. */
export interface ChatFigures {
  alone: Comparison;
  crowd: Comparison & { streams: number };
}

interface Comparison {
  ours: Figures;
  pipe: Figures;
  /**
   * Difference of the two medians of a round; of the rounds the median: others use the machine, too. Null when no round
   * could be measured.
   */
  addedMs: number | null;
  roundsMeasured: number;
}

export interface ChatScale {
  rounds: number;
  /** Tokens of each stream. */
  aloneTokens: number;
  crowdTokens: number;
}

/** One token: when the client had it, and what it took, milliseconds. */
interface Sample {
  at: number;
  latencyMs: number;
}

type Contender = (tokens: number, everyMs: number) => Promise<Sample[]>;

export async function benchChat(
  installation: Installation,
  report: (what: string) => void,
  scale: ChatScale,
): Promise<ChatFigures> {
  const { startPeer, token } = installation;
  const stub = await startPeer('model-stub', {}, /model_stub_ready (\S+)/);
  const target = `http://${stub?.[1]}`;
  const peer = await startPeer('pipe-peer', { PIPE_TARGET: target }, /pipe_peer_ready (\S+)/);
  const budget = '1000000';
  const api = await startPeer(
    'chat-api',
    {
      ANTHROPIC_API_KEY: 'bench-key',
      ANTHROPIC_BASE_URL: target,
      LLM_BUDGET_USER_DAY_USD: budget,
      LLM_BUDGET_DAY_USD: budget,
    },
    /"event":"api_ready".*?"url":"([^"]+)"/,
  );
  const agent = new Agent({ keepAlive: true });
  const wish = (tokens: number, everyMs: number): string => `tokens=${tokens} everyMs=${everyMs}`;
  const ours: Contender = (tokens, everyMs) =>
    readStream(
      open(`${api?.[1]}/api/v1/chat/message`, {
        method: 'POST',
        agent,
        headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
      }),
      { content: wish(tokens, everyMs) },
      { tokens, last: 'event: done\n' },
    );
  const pipe: Contender = (tokens, everyMs) =>
    readStream(
      open(`http://${peer?.[1]}/`, {
        method: 'POST',
        agent,
        headers: { 'content-type': 'application/json' },
      }),
      { messages: [{ role: 'user', content: wish(tokens, everyMs) }] },
      { tokens, last: 'event: message_stop\n' },
    );

  const alone = async (run: Contender, times: number) =>
    latenciesOf([await run(scale.aloneTokens * times, ALONE_EVERY_MS)]);
  const crowd = async (run: Contender, times: number) => {
    const tokens = scale.crowdTokens * times;
    const streams = Array.from({ length: STREAMS_AT_ONCE }, () => run(tokens, CROWD_EVERY_MS));
    return latenciesOf(await Promise.all(streams));
  };
  try {
    for (const run of [ours, pipe]) await run(WARM_TOKENS * 10, ALONE_EVERY_MS);
    const figures = {
      alone: await compare('one stream', alone),
      crowd: { streams: STREAMS_AT_ONCE, ...(await compare(`${STREAMS_AT_ONCE} streams`, crowd)) },
    };
    return figures;
  } finally {
    agent.destroy();
  }

  async function compare(name: string, measure: Measure): Promise<Comparison> {
    const all = { ours: [] as number[], pipe: [] as number[] };
    const added: number[] = [];
    for (let round = 0; round < scale.rounds; round++) {
      report(`chat: ${name}, round ${round + 1} of ${scale.rounds}`);
      // The order changes, so that none always follows the other.
      const order = round % 2 === 0 ? (['pipe', 'ours'] as const) : (['ours', 'pipe'] as const);
      const now = await measureRound(name, measure, order);
      if (now === undefined) continue;
      added.push(figuresOf(now.ours).p50 - figuresOf(now.pipe).p50);
      all.ours.push(...now.ours);
      all.pipe.push(...now.pipe);
    }
    return {
      ours: figuresOf(all.ours),
      pipe: figuresOf(all.pipe),
      addedMs: added.length === 0 ? null : figuresOf(added).p50,
      roundsMeasured: added.length,
    };
  }

  /** Both contenders with streams of the same length; undefined when they could not be made to run side by side. */
  async function measureRound(
    name: string,
    measure: Measure,
    order: readonly ('ours' | 'pipe')[],
  ): Promise<Record<'ours' | 'pipe', number[]> | undefined> {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const now = { ours: [] as number[], pipe: [] as number[] };
      for (const each of order) now[each] = await measure(each === 'ours' ? ours : pipe, 2 ** attempt);
      if (Math.min(now.ours.length, now.pipe.length) >= MIN_COMMON_TOKENS) return now;
      report(`chat: ${name}: too few tokens came while all streams ran`);
    }
    return undefined;
  }
}

/** Latencies of one contender, with streams `times` as long as the scale says. */
type Measure = (run: Contender, times: number) => Promise<number[]>;

/** Of the tokens that came while every one of the streams ran (there may be none): how they begin and end is another matter. */
function latenciesOf(streams: readonly (readonly Sample[])[]): number[] {
  const allBegan = Math.max(
    ...streams.map((samples) => samples[WARM_TOKENS]?.at ?? Number.POSITIVE_INFINITY),
  );
  const firstEnd = Math.min(...streams.map((samples) => samples.at(-1)?.at ?? Number.NEGATIVE_INFINITY));
  const common = streams.flat().filter(({ at }) => at >= allBegan && at <= firstEnd);
  return common.map(({ latencyMs }) => latencyMs);
}

/**
 * Sends the body and reads the stream to its end; resolves with its tokens.
 * @throws when it is refused, loses a token, or ends otherwise than by `last`
 */
function readStream(
  request: ClientRequest,
  body: object,
  { tokens, last }: { tokens: number; last: string },
): Promise<Sample[]> {
  return new Promise((resolve, reject) => {
    const read = (response: IncomingMessage): void => {
      const samples: Sample[] = [];
      let rest = '';
      let isWhole = false;
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        const now = process.hrtime.bigint();
        rest += chunk;
        // The last event may not be whole yet.
        const end = rest.lastIndexOf('\n\n') + 2;
        if (end < 2) return;
        const events = rest.slice(0, end);
        rest = rest.slice(end);
        isWhole ||= events.includes(last);
        for (const [, stamp] of events.matchAll(/"(?:text|content)":"(\d+) "/g)) {
          samples.push({ at: Number(now) / 1e6, latencyMs: Number(now - BigInt(stamp ?? 0)) / 1e6 });
        }
      });
      response.on('end', () => {
        if (response.statusCode !== 200)
          reject(new Error(`a stream was answered with ${response.statusCode}`));
        else if (!isWhole) reject(new Error('a stream ended without its last event'));
        else if (samples.length !== tokens) reject(new Error(`${samples.length} of ${tokens} tokens came`));
        else resolve(samples);
      });
      response.on('error', reject);
    };
    request.on('response', read);
    request.on('error', reject);
    request.setTimeout(STREAM_TIMEOUT_MS, () => request.destroy(new Error('a stream stands still')));
    request.end(JSON.stringify(body));
  });
}
