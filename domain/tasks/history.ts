/** What the model is told of earlier steps: decisions, outcomes, and the head and tail of their output. */
import { actText } from '../../contracts/act.ts';
import type { StreamName } from '../../contracts/agent-protocol.ts';
import { findAct } from '../../db/acts.ts';
import { readOutput } from '../../db/command-output.ts';
import { type CommandWithAct, listTaskCommands } from '../../db/commands.ts';
import type { Queryable } from '../../db/database.ts';
import { listSteps, type StepRow } from '../../db/steps.ts';
import type { TaskRow } from '../../db/tasks.ts';
import type { EarlierDecision, EarlierStep } from '../../llm/port.ts';

/** Output read per stream for the model, bytes from the start and from the end. The adapter cuts further. */
const OUTPUT_HEAD_BYTES = 8 * 1024;
const OUTPUT_TAIL_BYTES = 8 * 1024;

/** Decided steps before `beforeStep`, oldest first. */
export async function readHistory(db: Queryable, task: TaskRow, beforeStep: number): Promise<EarlierStep[]> {
  if (beforeStep <= 1) return [];
  const steps = (await listSteps(db, task.id, task.runNo)).filter((step) => step.stepNo < beforeStep);
  if (steps.length === 0) return [];
  const commands = await listTaskCommands(db, task.id, task.runNo);
  return Promise.all(
    steps.map((step) =>
      earlierStep(
        db,
        step,
        // In the order in which they were made: of a step that was tried again the last attempt counts.
        commands.findLast((command) => command.stepNo === step.stepNo),
      ),
    ),
  );
}

async function earlierStep(
  db: Queryable,
  step: StepRow,
  command: CommandWithAct | undefined,
): Promise<EarlierStep> {
  const original = step.originalDigest === null ? undefined : await findAct(db, step.originalDigest);
  return {
    step: step.stepNo,
    command: actText(step.act),
    shell: step.act.mode === 'shell' ? step.act.shell : null,
    reason: step.reason,
    decision: decisionFor(step),
    decisionReason: step.decisionReason,
    editedFrom: original === undefined ? null : actText(original.act),
    outcome:
      command === undefined
        ? null
        : {
            state: command.state,
            exitCode: command.exitCode,
            ...(await outputOf(db, command)),
          },
  };
}

function decisionFor(step: StepRow): EarlierDecision {
  return step.decision === 'approve' || step.decision === 'edit' || step.decision === 'reject'
    ? step.decision
    : 'void';
}

async function outputOf(db: Queryable, command: CommandWithAct) {
  const [stdout, stderr] = await Promise.all([
    excerpt(db, command, 'stdout'),
    excerpt(db, command, 'stderr'),
  ]);
  return {
    stdout: stdout.text,
    stderr: stderr.text,
    stdoutTruncated: stdout.cut,
    stderrTruncated: stderr.cut,
  };
}

async function excerpt(
  db: Queryable,
  command: CommandWithAct,
  stream: StreamName,
): Promise<{ text: string; cut: boolean }> {
  const { bytes, truncated } = command[stream];
  if (bytes === 0) return { text: '', cut: truncated };
  if (bytes <= OUTPUT_HEAD_BYTES + OUTPUT_TAIL_BYTES) {
    return {
      text: (await readOutput(db, command.commandId, stream, 0, bytes)).toString('utf8'),
      cut: truncated,
    };
  }
  const head = await readOutput(db, command.commandId, stream, 0, OUTPUT_HEAD_BYTES);
  const tail = await readOutput(db, command.commandId, stream, bytes - OUTPUT_TAIL_BYTES, OUTPUT_TAIL_BYTES);
  const skipped = bytes - head.length - tail.length;
  return {
    text: `${head.toString('utf8')}\n[… ${skipped} bytes left out …]\n${tail.toString('utf8')}`,
    cut: true,
  };
}
