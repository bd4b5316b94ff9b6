/**
 * A command of the ledger for an agent with an address: claimed, asked once, its answer recorded as the agent's word.
 *
 *  A. `sent` is committed before anything leaves. What was sent is never sent again: an attempt that finds the command
 *     `sent` calls it `unknown`.
 *  B. Only where the agent certainly did nothing the command is `rejected`; where nobody knows it is `unknown`.
 *  C. The agent is given a shell command and its timeout. An act that says more (a directory, an environment …) cannot
 *     be handed on as it was decided, so it is not handed on.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { type Act, actText } from '../../contracts/act.ts';
import { type AgentOutcome, OUTPUT_CHUNK_BYTES, type StreamSummary } from '../../contracts/agent-protocol.ts';
import { problem } from '../../contracts/errors.ts';
import { claimUrlCommand } from '../../db/command-claims.ts';
import { type CommandWithAct, findCommand } from '../../db/commands.ts';
import { findTask } from '../../db/tasks.ts';
import { logUnreadable } from '../commands/claim.ts';
import { expectAnswers } from '../commands/journal-less.ts';
import { recordReports } from '../commands/record.ts';
import type { LedgerFrame } from '../commands/report.ts';
import { transact } from '../transact.ts';
import { askForTask } from './ask-for-task.ts';
import { askUrlAgent, type UrlAnswer } from './call.ts';
import type { UrlAgentDeps } from './deps.ts';
import { URL_FAILURE_PREFIX } from './failure.ts';

/** The answer is waited for this much longer than the command may take, milliseconds. */
const ANSWER_GRACE_MS = 5_000;
/** Journal of all agents with an address: they keep none that we know. */
const NO_JOURNAL = '00000000-0000-4000-8000-000000000000';

const resultSchema = z.object({
  output: z.string().nullish(),
  exit_code: z.int().min(-2_147_483_648).max(4_294_967_295),
  status: z.string().max(32).nullish(),
  outcome: z.string().max(32).nullish(),
  output_truncated: z.boolean().nullish(),
});

/** @returns why nothing was asked, or null */
export async function runOnUrlAgent(
  deps: UrlAgentDeps,
  commandId: string,
  signal: AbortSignal,
): Promise<{ refused: string | null }> {
  const command = await claim(deps, commandId);
  if (command === undefined) return giveUpSent(deps, commandId);
  await expectAnswers(deps, [commandId]);
  const startedAt = performance.now();
  const told = await ask(deps, command, signal);
  await record(deps, command, {
    ...endOf(told),
    durationMs: Math.round(performance.now() - startedAt),
  });
  return { refused: null };
}

async function claim(deps: UrlAgentDeps, commandId: string): Promise<CommandWithAct | undefined> {
  return transact(deps, async (unit) => {
    const { commands, unreadable } = await claimUrlCommand(unit.trx, commandId, NO_JOURNAL);
    logUnreadable(deps, unreadable);
    const [command] = commands;
    if (command !== undefined) {
      unit.emit('command.sent', {
        commandId,
        batchId: command.batchId,
        agentId: command.agentId,
        taskId: command.taskId,
        ownerId: command.ownerId,
        data: { step: command.stepNo },
      });
    }
    return command;
  });
}

/** A */
async function giveUpSent(deps: UrlAgentDeps, commandId: string): Promise<{ refused: string }> {
  const row = await findCommand(deps.db, commandId);
  // An operator asked the agent to take nothing new: the command waits for its time.
  if (row?.state === 'queued' && row.expiresAt.getTime() > Date.now()) throw problem('service_unavailable');
  if (row?.state !== 'sent') return { refused: row?.state ?? 'not_found' };
  await record(deps, row, {
    outcome: 'unknown',
    reason: `${URL_FAILURE_PREFIX}whoever asked was interrupted`,
  });
  return { refused: 'interrupted' };
}

function ask(deps: UrlAgentDeps, command: CommandWithAct, signal: AbortSignal): Promise<UrlAnswer> {
  const { act, agentId, commandId, taskId } = command;
  if (!isPlain(act))
    return Promise.resolve({ kind: 'unreached', reason: 'only plain shell commands can be handed on' });
  const question = {
    body: { command: actText(act), timeout: act.timeoutMs / 1000 },
    timeoutMs: act.timeoutMs + ANSWER_GRACE_MS,
    idempotencyKey: commandId,
    signal,
  };
  return taskId === null
    ? askUrlAgent(deps, agentId, { ...question, method: 'POST', path: '/step/execute' })
    : askOfTask(deps, command, taskId, question);
}

async function askOfTask(
  deps: UrlAgentDeps,
  { agentId }: CommandWithAct,
  taskId: string,
  question: Parameters<typeof askForTask>[4],
): Promise<UrlAnswer> {
  const task = await findTask(deps.db, taskId);
  if (task === undefined) return { kind: 'unreached', reason: 'its task is gone' };
  return askForTask(deps, agentId, task, '/step/execute', question);
}

/** C */
const isPlain = (act: Act): boolean =>
  act.mode === 'shell' &&
  act.stdin === null &&
  act.workingDirectory === null &&
  act.user === null &&
  !act.elevated &&
  Object.keys(act.environment).length === 0;

interface End {
  outcome: AgentOutcome;
  reason: string | null;
  exitCode?: number | null;
  output?: string;
  isCut?: boolean;
  durationMs?: number;
}

/** States of the other side's ledger that say more than an exit code. */
const knownOutcomes: Readonly<Record<string, AgentOutcome>> = {
  timed_out: 'timed_out',
  canceled: 'canceled',
  expired: 'rejected',
  rejected: 'rejected',
  unknown: 'unknown',
};

/** B */
function endOf(told: UrlAnswer): End {
  if (told.kind === 'refused')
    return { outcome: 'rejected', reason: `${URL_FAILURE_PREFIX}it said ${told.status}: ${told.message}` };
  if (told.kind === 'unreached')
    return { outcome: 'rejected', reason: `${URL_FAILURE_PREFIX}${told.reason}` };
  if (told.kind === 'lost') return { outcome: 'unknown', reason: `${URL_FAILURE_PREFIX}${told.reason}` };
  const read = resultSchema.safeParse(told.data);
  if (!read.success)
    return { outcome: 'unknown', reason: `${URL_FAILURE_PREFIX}an answer that holds no result` };
  const { output, exit_code: exitCode, outcome, output_truncated: isCut } = read.data;
  const known = outcome == null ? undefined : knownOutcomes[outcome];
  return {
    outcome: known ?? (exitCode === 0 ? 'succeeded' : 'failed'),
    reason: known === undefined ? null : `the agent says ${outcome}`,
    exitCode: known === undefined ? exitCode : null,
    output: output ?? '',
    isCut: isCut ?? false,
  };
}

/** As frames of an agent that keeps no journal. Its output is one text: it counts as standard output. */
async function record(
  deps: UrlAgentDeps,
  command: Pick<CommandWithAct, 'commandId' | 'agentId' | 'digest' | 'outputCapBytes'>,
  end: End,
): Promise<void> {
  const { commandId, agentId, digest, outputCapBytes } = command;
  const bytes = Buffer.from(end.output ?? '', 'utf8');
  const kept = bytes.subarray(0, outputCapBytes);
  const frames: LedgerFrame[] = [];
  for (let offset = 0; offset < kept.length; offset += OUTPUT_CHUNK_BYTES) {
    const chunk = kept.subarray(offset, offset + OUTPUT_CHUNK_BYTES).toString('base64');
    frames.push({ type: 'output', commandId, stream: 'stdout', offset, bytes: chunk });
  }
  frames.push({
    type: 'result',
    commandId,
    digest,
    outcome: end.outcome,
    reason: end.reason,
    exitCode: end.exitCode ?? null,
    signal: null,
    startedAt: null,
    finishedAt: null,
    durationMs: end.durationMs ?? null,
    stdout: { ...summaryOf(kept, bytes.length), ...(end.isCut && { truncated: true }) },
    stderr: summaryOf(Buffer.alloc(0), 0),
  });
  await recordReports(
    deps,
    frames.map((frame) => ({ agentId, journalId: NO_JOURNAL, frame })),
  );
}

const summaryOf = (kept: Buffer, totalBytes: number): StreamSummary => ({
  bytes: kept.length,
  totalBytes,
  sha256: createHash('sha256').update(kept).digest('hex'),
  truncated: totalBytes > kept.length,
});
