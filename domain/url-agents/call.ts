/**
 * One question to an agent at its address, and what its answer is worth.
 *
 *  A. Nothing is asked while its circuit is open; a success closes it, failures in a row open it (CIRCUIT_FAILURES).
 *  B. `unreached` and `refused` say that it certainly did nothing; `lost`, that nobody knows.
 *  C. The answer is a stranger's text: it is read as JSON of the family, and never trusted to be more.
 */
import { z } from 'zod';
import {
  findUrlAgent,
  markUrlAgentSeen,
  noteUrlFailure,
  noteUrlSuccess,
  type UrlAgentRow,
} from '../../db/url-agents.ts';
import type { OutboundAnswer } from '../../outbound/port.ts';
import { plainProse } from '../tasks/model-answer.ts';
import { transact } from '../transact.ts';
import { type UrlAgentDeps, urlTokenName } from './deps.ts';

/** Failures in a row after which an agent is left alone. */
export const CIRCUIT_FAILURES = 5;
/** For so long, milliseconds; then one failure more is enough. */
export const CIRCUIT_OPEN_MS = 60_000;
/** Most of an answer that is read: both streams of a step at their most, as JSON text. */
const MAX_ANSWER_BYTES = 8 * 1024 * 1024;
/** Envelopes in envelopes that are opened. */
const MAX_ENVELOPES = 4;

export interface UrlQuestion {
  method: 'GET' | 'POST';
  /** After the agent's address, with the slash. */
  path: string;
  body?: unknown;
  timeoutMs: number;
  /** The other side answers a repeat as it did the first time, where it knows the header. */
  idempotencyKey?: string;
  /** Goes before the agent's own. */
  token?: string | undefined;
  signal?: AbortSignal | undefined;
}

export type UrlAnswer =
  /** Out of its envelope. */
  | { kind: 'answered'; data: unknown }
  /** It said no. */
  | { kind: 'refused'; status: number; message: string }
  | { kind: 'unreached'; reason: string }
  | { kind: 'lost'; reason: string };

export async function askUrlAgent(
  deps: UrlAgentDeps,
  agentId: string,
  question: UrlQuestion,
): Promise<UrlAnswer> {
  const agent = await findUrlAgent(deps.db, agentId);
  if (agent === undefined) return { kind: 'unreached', reason: 'the agent has no address' };
  if (agent.openUntil !== null && agent.openUntil.getTime() > Date.now())
    return { kind: 'unreached', reason: `left alone after ${agent.failureStreak} failures (circuit open)` }; // A
  const answer = await deps.agentUrls.request(requestOf(deps, agent, question));
  const read = readAnswer(answer);
  await note(deps, agent, answer, read);
  return read;
}

function requestOf(deps: UrlAgentDeps, agent: UrlAgentRow, question: UrlQuestion) {
  const { sealedToken, agentId } = agent;
  const own = sealedToken === null ? undefined : deps.secrets.open(urlTokenName(agentId), sealedToken);
  const token = question.token ?? own;
  return {
    url: `${agent.url}${question.path}`,
    method: question.method,
    headers: {
      accept: 'application/json',
      'user-agent': 'Steelthread-Hub/1',
      ...(question.body !== undefined && { 'content-type': 'application/json' }),
      ...(question.idempotencyKey !== undefined && { 'idempotency-key': question.idempotencyKey }),
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
    },
    ...(question.body !== undefined && { body: JSON.stringify(question.body) }),
    timeoutMs: question.timeoutMs,
    maxResponseBytes: MAX_ANSWER_BYTES,
    ...(question.signal !== undefined && { signal: question.signal }),
  };
}

/** Statuses that say that the very request was not carried out. */
const isNo = (status: number): boolean => (status >= 300 && status < 500 && status !== 408) || status === 501;

/** B, C */
export function readAnswer(answer: OutboundAnswer): UrlAnswer {
  if (answer.kind === 'refused') return { kind: 'unreached', reason: answer.message };
  if (answer.kind === 'failed')
    return { kind: answer.mayHaveArrived ? 'lost' : 'unreached', reason: answer.message };
  const { status, body, isCut } = answer;
  const parsed = isCut ? undefined : parseJson(body);
  if (isNo(status)) return { kind: 'refused', status, message: messageOf(parsed) ?? `status ${status}` };
  if (status < 200 || status >= 300) return { kind: 'lost', reason: `status ${status}` };
  if (isCut) return { kind: 'lost', reason: `an answer longer than ${MAX_ANSWER_BYTES} bytes` };
  if (parsed === undefined) return { kind: 'lost', reason: 'an answer that is not JSON' };
  return { kind: 'answered', data: unwrap(parsed) };
}

const envelopeSchema = z.object({ status: z.string(), data: z.record(z.string(), z.unknown()) });
const errorSchema = z.object({ message: z.string().max(500) });

function unwrap(value: unknown): unknown {
  let inner = value;
  for (let depth = 0; depth < MAX_ENVELOPES; depth++) {
    const envelope = envelopeSchema.safeParse(inner);
    if (!envelope.success) break;
    inner = envelope.data.data;
  }
  return inner;
}

function messageOf(value: unknown): string | undefined {
  const message = errorSchema.safeParse(value).data?.message;
  return message === undefined ? undefined : plainProse(message);
}

function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8')) as unknown;
  } catch {
    return undefined;
  }
}

/** What the guard refuses, and what we broke off ourselves, is no failure of the agent. */
async function note(
  deps: UrlAgentDeps,
  agent: UrlAgentRow,
  answer: OutboundAnswer,
  read: UrlAnswer,
): Promise<void> {
  const { agentId } = agent;
  if (answer.kind === 'refused' || (answer.kind === 'failed' && answer.code === 'aborted')) return;
  if (read.kind === 'answered' || read.kind === 'refused') {
    await noteUrlSuccess(deps.db, agentId);
    await seen(deps, agentId);
    return;
  }
  const limits = { threshold: CIRCUIT_FAILURES, openMs: CIRCUIT_OPEN_MS };
  const streak = await noteUrlFailure(deps.db, agentId, { failure: read.reason, ...limits });
  deps.log.warn({ event: 'url_agent_failed', agentId, kind: read.kind, reason: read.reason, streak });
}

/** It is there, which is news where it had been away. */
export async function seen(deps: UrlAgentDeps, agentId: string): Promise<void> {
  await transact(deps, async (unit) => {
    if (await markUrlAgentSeen(unit.trx, agentId)) unit.emit('agent.online', { agentId, data: {} });
  });
}
