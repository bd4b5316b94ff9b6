/** What becomes of a task that the model suggests in a conversation: a supervised one, of whoever is talked with. */
import { isProblem } from '../../contracts/errors.ts';
import { createTaskBodySchema, type TaskTarget } from '../../contracts/tasks.ts';
import type { ProposedTask } from '../../llm/chat-port.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { createTask } from '../tasks/create.ts';

export interface Proposed {
  /** Null where it was refused. */
  taskId: string | null;
  /** What the person is told, and the model in later turns. Facts of ours, not words of the model. */
  note: string;
}

/**
 * Nothing runs by it: each command of a supervised task waits for a decision. Refusals are told in the note.
 * @throws what is no refusal (the database is away)
 */
export async function proposeTask(deps: DomainDeps, actor: Actor, wish: ProposedTask): Promise<Proposed> {
  try {
    const body = createTaskBodySchema.parse({
      goal: wish.goal,
      ...(wish.title !== null && { title: wish.title }),
      mode: 'supervised',
      target: targetOf(wish),
    });
    const { task } = await createTask(deps, actor, body, { idempotencyKey: null });
    const title = JSON.stringify(task.title);
    return {
      taskId: task.id,
      note: `[Task ${task.id} was created: ${title}. Each of its commands waits for a decision before it runs.]`,
    };
  } catch (error) {
    if (!isProblem(error) || error.status >= 500) throw error;
    return { taskId: null, note: `[No task was created: ${error.message}.]` };
  }
}

function targetOf({ agentId, tags }: ProposedTask): TaskTarget {
  if (agentId !== null) return { agentId };
  return tags.length > 0 ? { tags: [...tags] } : { any: true };
}
