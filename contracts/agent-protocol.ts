/**
 * The agent protocol, version 1: one WebSocket at `/v1/agent`, JSON text frames, one union per direction.
 *
 *   agent  → hello                      the first frame, within HELLO_DEADLINE_MS
 *   server → welcome                    or a close with one of `closeCodes`
 *   server → run                        a command to start (resume:false) or to report on (resume:true)
 *   agent  → started, output*, result   output in order of offset per stream; result after all its output is acked
 *   server → outputAck, resultAck       an ack follows the commit that stored what it acks
 *   server → cancel                     kill it; for an id never seen: a tombstone, so a late run frame is refused
 *   agent  → notKnown                   the answer to run{resume:true} for an id that is not in the journal, and to a
 *                                       run frame that came while the agent drains: the next hello offers it again
 *   agent  → claim                      Temporal delivery only: ask for one queued command by id
 *   agent  → presence                   every `presenceIntervalMs`, and after presenceRequest
 *
 * Invariants (cited in agent/ and api/bridge/):
 *  A. The agent recomputes the digest of a run frame before INTENT; a mismatch is `rejected`, never run.
 *  B. INTENT is on disk (fsync) before the process starts; a known id with the same digest answers its state or
 *     result and never starts again; with another digest it is refused.
 *  C. Output carries byte offsets. The server takes a chunk only at its next offset, otherwise it acks the offset it
 *     expects and the agent resends from there.
 *  D. A result is resent until acked. Journal entries go only after the ack.
 *  E. Unknown frame types are answered with `error{code:'unknown_frame'}` and are not fatal. Types that begin with
 *     `file.` are kept for file transfer, and unknown until that exists.
 *
 * Frames of terminals (`terminal.…`, and the only binary frames) are in terminal-protocol.ts.
 */
import { z } from 'zod';
import { actSchema } from './act.ts';
import { terminalAgentFrames, terminalServerFrames } from './terminal-protocol.ts';

export * from './act.ts';
export * from './terminal-protocol.ts';

export const PROTOCOL_VERSION = 1;
/** A socket that has not said hello by then is closed, milliseconds. */
export const HELLO_DEADLINE_MS = 5_000;
/** Largest frame either side accepts, bytes. */
export const MAX_FRAME_BYTES = 1024 * 1024;
/** Largest output chunk, bytes before base64. */
export const OUTPUT_CHUNK_BYTES = 64 * 1024;
/** Output bytes in flight (sent, not acked) per stream. */
export const OUTPUT_WINDOW_BYTES = 512 * 1024;
/** How often an agent reports presence, milliseconds. */
export const PRESENCE_INTERVAL_MS = 15_000;
/** WebSocket ping interval on both sides; two missed pongs end the socket, milliseconds. */
export const PING_INTERVAL_MS = 30_000;

/** Close codes the server uses on agent sockets. */
export const closeCodes = {
  /** Credential missing, wrong, or revoked. Do not retry with the same one at once. */
  policy: 1008,
  /** The server stops; reconnect with jitter. */
  goingAway: 1001,
  /** A newer connection of the same agent took over. */
  superseded: 4001,
  /** Hello missing, late or malformed. */
  badHello: 4002,
  /** The peer does not read: its buffer passed the limit. */
  slowConsumer: 4003,
  /** The agent was revoked or deleted. */
  revoked: 4004,
} as const;

const digestSchema = z.string().regex(/^[0-9a-f]{64}$/);
/** Digest in the result of a command that the agent only knows by a cancel (a tombstone): it never saw the act. */
export const NO_DIGEST = '0'.repeat(64);
export const commandIdSchema = z.uuid();
export const agentIdSchema = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/);
const isoTime = z.iso.datetime({ offset: true });
const shortText = z.string().max(1024);

export const streamNames = ['stdout', 'stderr'] as const;
export type StreamName = (typeof streamNames)[number];
const streamSchema = z.enum(streamNames);

export const deliveries = ['websocket', 'temporal'] as const;
export type Delivery = (typeof deliveries)[number];

/**
 * Command line programs that answer prompts, by the name under which clients ask for them. An agent on whose search path
 * the program is names the capability `cli:<name>`.
 */
export const cliPrograms = {
  sgpt: 'sgpt',
  opencode: 'opencode',
  aider: 'aider',
  mistral_code: 'mistral-code',
} as const;
export type CliName = keyof typeof cliPrograms;

/** What an agent may be able to do; the server sends nothing that needs a capability the hello did not name. */
export const capabilityNames = [
  'shell',
  'argv',
  'elevate',
  'run-as',
  'cgroup',
  'metrics',
  'terminal',
  'file',
  'cli:sgpt',
  'cli:opencode',
  'cli:aider',
  'cli:mistral_code',
] as const;

/** Summary of one output stream at the end of a command. */
export const streamSummarySchema = z.strictObject({
  /** Bytes kept (sent to the server), at most the act's cap. */
  bytes: z.int().min(0),
  /** Bytes the process wrote. Larger than `bytes` when cut. */
  totalBytes: z.int().min(0),
  /** sha256 of the kept bytes, lower-case hex: what a download can be checked against. */
  sha256: digestSchema,
  /** True when `totalBytes > bytes`. */
  truncated: z.boolean(),
});
export type StreamSummary = z.infer<typeof streamSummarySchema>;

/** Final states an agent may report (the edge table's "agent only" targets, plus `unknown` after its own crash). */
export const agentOutcomes = [
  'succeeded',
  'failed',
  'timed_out',
  'canceled',
  'expired',
  'rejected',
  'unknown',
] as const;
export type AgentOutcome = (typeof agentOutcomes)[number];

export const metricsSchema = z.object({
  cpuPercent: z.number().min(0).nullable(),
  loadAverage: z.number().min(0).nullable(),
  memoryTotalBytes: z.number().min(0).nullable(),
  memoryUsedBytes: z.number().min(0).nullable(),
  disks: z
    .array(z.object({ mount: z.string().max(512), totalBytes: z.number(), usedBytes: z.number() }))
    .max(64),
  networkReceivedBytes: z.number().min(0).nullable(),
  networkSentBytes: z.number().min(0).nullable(),
  processCount: z.number().min(0).nullable(),
  uptimeSeconds: z.number().min(0).nullable(),
});
export type AgentMetrics = z.infer<typeof metricsSchema>;

export const helloSchema = z.object({
  type: z.literal('hello'),
  protocol: z.int().min(1),
  agentId: agentIdSchema,
  /** Identity of the journal directory: a new or wiped journal has a new id. */
  journalId: z.uuid(),
  /** Number of journal records ever written; a smaller number than the server saw means a rolled-back journal. */
  journalSeq: z.int().min(0),
  delivery: z.enum(deliveries),
  hostname: z.string().min(1).max(255),
  os: z.string().max(255),
  arch: z.string().max(64),
  version: z.string().max(64),
  capabilities: z.array(z.string().max(64)).max(64),
  /** Shells found on this machine, by name, best first. */
  shells: z.array(z.string().max(32)).max(16),
  defaultShell: z.string().max(32),
});
export type Hello = z.infer<typeof helloSchema>;

export const agentFrameSchema = z.discriminatedUnion('type', [
  helloSchema,
  z.object({
    type: z.literal('presence'),
    journalSeq: z.int().min(0),
    /** Commands running now. */
    running: z.int().min(0),
    metrics: metricsSchema.nullable(),
  }),
  /** STARTED is in the journal and the process runs. */
  z.object({
    type: z.literal('started'),
    commandId: commandIdSchema,
    digest: digestSchema,
    pid: z.int(),
    startedAt: isoTime,
  }),
  z.object({
    type: z.literal('output'),
    commandId: commandIdSchema,
    stream: streamSchema,
    /** Offset of the first byte of this chunk in the stream. */
    offset: z.int().min(0),
    /** Base64, at most OUTPUT_CHUNK_BYTES before encoding. */
    bytes: z.base64().max(Math.ceil(OUTPUT_CHUNK_BYTES / 3) * 4),
  }),
  z.object({
    type: z.literal('result'),
    commandId: commandIdSchema,
    digest: digestSchema,
    outcome: z.enum(agentOutcomes),
    /** Exit code of the finished process; null when none finished. */
    exitCode: z.int().nullable(),
    /** Name of the signal that ended the process, or null. */
    signal: z.string().max(32).nullable(),
    /** Why, for every outcome but succeeded (for example `digest_mismatch`, `shell_not_found`, `agent_restarted`). */
    reason: shortText.nullable(),
    startedAt: isoTime.nullable(),
    finishedAt: isoTime.nullable(),
    durationMs: z.int().min(0).nullable(),
    stdout: streamSummarySchema,
    stderr: streamSummarySchema,
  }),
  z.object({ type: z.literal('notKnown'), commandId: commandIdSchema }),
  z.object({ type: z.literal('claim'), commandId: commandIdSchema, digest: digestSchema }),
  /** The agent stops soon and takes no new commands; running ones finish or are killed at its drain deadline. */
  z.object({ type: z.literal('draining') }),
  z.object({ type: z.literal('error'), code: z.string().max(64), message: shortText }),
  ...terminalAgentFrames,
]);
export type AgentFrame = z.infer<typeof agentFrameSchema>;

export const runFrameSchema = z.object({
  type: z.literal('run'),
  commandId: commandIdSchema,
  digest: digestSchema,
  act: actSchema,
  binding: z.object({ taskRun: z.string().max(128), step: z.int().min(0), proposalId: z.string().max(64) }),
  /** Milliseconds the command may still wait to be started, counted from the arrival of this frame. */
  startWithinMs: z.int().min(0),
  /** True: only report what the journal knows (or `notKnown`); never start it. */
  resume: z.boolean(),
  /** Next output offsets the server expects, for resending after a reconnect. */
  offsets: z.object({ stdout: z.int().min(0), stderr: z.int().min(0) }),
});
export type RunFrame = z.infer<typeof runFrameSchema>;

export const serverFrameSchema = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('welcome'),
    protocol: z.int(),
    agentId: agentIdSchema,
    /** Connection epoch: rises with every hello of this agent. */
    epoch: z.int(),
    presenceIntervalMs: z.int(),
    serverVersion: z.string(),
    /** True when the journal was found rolled back: the agent must start a new journal id before it runs anything. */
    resetJournal: z.boolean(),
    /** Temporal delivery: where the activity worker connects; absent for websocket delivery. */
    temporal: z.object({ address: z.string(), namespace: z.string(), taskQueue: z.string() }).optional(),
  }),
  runFrameSchema,
  z.object({ type: z.literal('cancel'), commandId: commandIdSchema, reason: shortText }),
  z.object({
    type: z.literal('outputAck'),
    commandId: commandIdSchema,
    stream: streamSchema,
    nextOffset: z.int().min(0),
  }),
  z.object({ type: z.literal('resultAck'), commandId: commandIdSchema }),
  /** Send presence now. An agent that does not know it answers an error and goes on (E). */
  z.object({ type: z.literal('presenceRequest') }),
  /** The claim was refused: the command is final, not queued, expired or not this agent's. */
  z.object({
    type: z.literal('claimRefused'),
    commandId: commandIdSchema,
    state: z.string(),
    reason: shortText,
  }),
  z.object({ type: z.literal('error'), code: z.string().max(64), message: shortText }),
  ...terminalServerFrames,
]);
export type ServerFrame = z.infer<typeof serverFrameSchema>;

export type ParsedFrame<F> =
  | { kind: 'frame'; frame: F }
  /** Not JSON, not an object, or a known type with a wrong shape. */
  | { kind: 'malformed'; message: string }
  /** A type this side does not know (invariant E). */
  | { kind: 'unknown'; frameType: string };

function parseFrame<F>(schema: z.ZodType<F>, known: ReadonlySet<string>, text: string): ParsedFrame<F> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { kind: 'malformed', message: 'the frame is not JSON' };
  }
  const frameType = typeof value === 'object' && value !== null && 'type' in value ? value.type : undefined;
  if (typeof frameType !== 'string') return { kind: 'malformed', message: 'the frame has no type' };
  if (!known.has(frameType)) return { kind: 'unknown', frameType: frameType.slice(0, 64) };
  const parsed = schema.safeParse(value);
  if (parsed.success) return { kind: 'frame', frame: parsed.data };
  const first = parsed.error.issues[0];
  return {
    kind: 'malformed',
    message: `${frameType}.${first?.path.join('.') ?? ''}: ${first?.message ?? 'invalid'}`.slice(0, 500),
  };
}

const typesOf = (options: readonly { shape: { type: { value: string } } }[]): ReadonlySet<string> =>
  new Set(options.map((option) => option.shape.type.value));

const agentFrameTypes = typesOf(agentFrameSchema.options);
const serverFrameTypes = typesOf(serverFrameSchema.options);

/** Parse a text frame that came from an agent. Never throws. */
export const parseAgentFrame = (text: string): ParsedFrame<AgentFrame> =>
  parseFrame(agentFrameSchema, agentFrameTypes, text);

/** Parse a text frame that came from the server. Never throws. */
export const parseServerFrame = (text: string): ParsedFrame<ServerFrame> =>
  parseFrame(serverFrameSchema, serverFrameTypes, text);
