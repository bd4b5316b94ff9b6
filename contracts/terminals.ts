/** Terminals: sessions as the house API shows them, and what is said on `/ws/terminal`. */
import { z } from 'zod';
import { agentIdSchema } from './agent-protocol.ts';
import { actorRefSchema, pageOf, pageQuery, resumeQuery, timeSchema } from './shared.ts';
import { TERMINAL_CHUNK_BYTES, terminalSideSchema } from './terminal-protocol.ts';

/** Size of a terminal nobody named a size for. */
export const DEFAULT_TERMINAL_SIZE = { cols: 80, rows: 24 } as const;
/** Longest `forward_param`, characters. */
export const MAX_FORWARD_PARAM_LENGTH = 255;
/** Longest reason for an end, characters. */
export const MAX_END_REASON_LENGTH = 255;
/** Longest preview of input in the log, characters. */
export const MAX_INPUT_PREVIEW_LENGTH = 120;
/** Entries of the log that a reader of it begins with. */
export const TERMINAL_LOG_TAIL = 100;
/** Open sessions of one principal. */
export const MAX_TERMINALS_OF_PRINCIPAL = 64;
/** Largest recording of a session, bytes; what comes later is left out, and that is said in it. */
export const RECORDING_CAP_BYTES = 16 * 1024 * 1024;
/** Largest frame of a client, bytes. A paste may be long; it is passed on in pieces. */
export const MAX_TERMINAL_FRAME_BYTES = 16 * TERMINAL_CHUNK_BYTES;

export const terminalStates = ['opening', 'open', 'ended'] as const;
export type TerminalState = (typeof terminalStates)[number];

export const terminalSessionSchema = z
  .object({
    id: z.uuid(),
    agentId: z.string(),
    state: z.enum(terminalStates),
    openedBy: actorRefSchema,
    address: z.string().nullable(),
    shell: z.string().nullable(),
    cols: z.int(),
    rows: z.int(),
    createdAt: timeSchema,
    openedAt: timeSchema.nullable(),
    endsBefore: timeSchema.meta({ description: 'Ended then in any case' }),
    endRequestedAt: timeSchema.nullable(),
    endedAt: timeSchema.nullable(),
    endReason: z.string().nullable().meta({
      description:
        '`exited`, `idle`, `detached`, `max_duration`, `lost`, `agent_stopping`, or what was asked for at its end',
    }),
    exitCode: z.int().nullable(),
    signal: z.int().nullable(),
    survivors: z.int().nullable().meta({ description: 'Processes that could not be killed' }),
    outputBytes: z.int().nullable(),
    recording: z
      .object({ bytes: z.int(), isTruncated: z.boolean(), hasInput: z.boolean() })
      .nullable()
      .meta({ description: 'null: not recorded' }),
  })
  .meta({ id: 'TerminalSession' });
export type TerminalSessionView = z.infer<typeof terminalSessionSchema>;

export const terminalPageSchema = pageOf(terminalSessionSchema);

export const terminalListQuerySchema = z.strictObject({
  ...pageQuery,
  agentId: agentIdSchema.optional(),
  state: z.enum(['open', 'ended']).optional().meta({ description: '`open`: not ended' }),
});
export type TerminalListQuery = z.infer<typeof terminalListQuerySchema>;

export const endTerminalBodySchema = z.strictObject({
  reason: z
    .string()
    .min(1)
    .max(MAX_END_REASON_LENGTH)
    .regex(/^[^\p{Cc}\p{Cs}]*$/u, 'No control characters')
    .optional(),
});

/** Text in a query: absent when it cannot be read. */
const side = z.coerce.number().pipe(terminalSideSchema);

/** `/ws/terminal`. What is wrong with a size or an unknown mode is read over, as clients know it. */
export const terminalQuerySchema = z.object({
  mode: z.enum(['interactive', 'read']).catch('interactive'),
  agent_id: agentIdSchema
    .optional()
    .meta({ description: 'Without it the host of the API, where that is on' }),
  session_id: z
    .string()
    .regex(/^(ws-)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)
    .optional()
    .meta({ description: 'Come back to this session' }),
  offset: z.coerce
    .number()
    .pipe(z.int().min(0))
    .optional()
    .meta({ description: 'Go on with this byte of its output; without it, with all that is kept' }),
  cols: side.catch(DEFAULT_TERMINAL_SIZE.cols).default(DEFAULT_TERMINAL_SIZE.cols),
  rows: side.catch(DEFAULT_TERMINAL_SIZE.rows).default(DEFAULT_TERMINAL_SIZE.rows),
  binary: z.enum(['0', '1']).catch('0').default('0').meta({
    description: '1: output and input are binary frames, and output beyond the window waits for `ack`',
  }),
  forward_param: z.string().max(MAX_FORWARD_PARAM_LENGTH).optional(),
  ...resumeQuery,
});
export type TerminalQuery = z.infer<typeof terminalQuerySchema>;

/** What a client says in JSON. Everything else is input as it is. */
export const terminalClientFrameSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('input'), data: z.string() }),
  z.object({
    type: z.literal('resize'),
    data: z.object({ cols: terminalSideSchema, rows: terminalSideSchema }),
  }),
  z.object({ type: z.literal('ack'), data: z.object({ offset: z.int().min(0) }) }),
  z.object({ type: z.literal('close'), data: z.unknown().optional() }),
]);
export type TerminalClientFrame = z.infer<typeof terminalClientFrameSchema>;

/** What a client is told in JSON. */
export type TerminalFrame =
  | {
      type: 'ready';
      data: {
        session_id: string;
        mode: 'interactive' | 'read';
        read_only: boolean;
        /** Offset of the first output byte that follows. */
        offset?: number;
        agent_id?: string;
        resumed?: boolean;
      };
    }
  /** `offset`: of the byte that follows the chunk. */
  | { type: 'output'; data: { chunk: string; offset?: number } }
  | { type: 'error'; data: { message: string; details?: string } }
  | {
      type: 'exit';
      data: { reason: string; exit_code: number | null; signal: number | null; survivors: number | null };
    };

export const terminalCloseCodes = {
  /** The session has ended. */
  ended: 1000,
  /** The server stops; the session lives and can be come back to. */
  goingAway: 1001,
  /** Not allowed (any more). */
  policy: 1008,
  internalError: 1011,
  /** The agent is connected elsewhere now; come back. */
  moved: 1012,
  /** Another client came back to the session. */
  takenOver: 4001,
} as const;

export const terminalLogEvents = ['session_open', 'input', 'session_close'] as const;
export type TerminalLogEvent = (typeof terminalLogEvents)[number];

/** An entry of the log, as the ananta contract has it. */
export interface TerminalLogEntry {
  /** Seconds since 1970. */
  timestamp: number;
  timestamp_iso: string;
  session_id: string;
  event: TerminalLogEvent;
  mode: 'interactive';
  principal: string;
  agent_id: string;
  forward_param?: string;
  remote_addr?: string;
  preview?: string;
  /** Of an input: how much was typed. */
  bytes?: number;
  /** Of an end. */
  reason?: string;
}

/**
 * One event of a recording: milliseconds since its start, kind (output, input, resize, marker), and of output and input
 * how many of the chunk's bytes are its, in order; of the others their text.
 */
export type RecordingMark = [number, 'o' | 'i', number] | [number, 'r' | 'm', string];
