/** Tokens of tasks as they are sealed, for putting them under another key. */
import { type Queryable, query, queryOne } from './database.ts';
import type { TaskRow } from './tasks.ts';

export type SealedTaskTokens = Pick<TaskRow, 'id' | 'sealedCallbackToken' | 'sealedAgentToken'>;

/** In the order of row ids, those after `afterId`. */
export function listSealedTaskTokens(
  db: Queryable,
  page: { afterId: string; limit: number },
): Promise<SealedTaskTokens[]> {
  return query<SealedTaskTokens>(
    db,
    `select id, sealed_callback_token as "sealedCallbackToken", sealed_agent_token as "sealedAgentToken" from tasks
     where (sealed_callback_token is not null or sealed_agent_token is not null) and id > cast(:after as uuid)
     order by id limit :limit`,
    { after: page.afterId, limit: page.limit },
  );
}

const columnOf = {
  sealedCallbackToken: 'sealed_callback_token',
  sealedAgentToken: 'sealed_agent_token',
} as const;

/** A row that changed meanwhile stays as it is. */
export async function replaceSealedTaskToken(
  db: Queryable,
  token: { id: string; column: keyof typeof columnOf; from: string; to: string },
): Promise<boolean> {
  const column = columnOf[token.column];
  const row = await queryOne(
    db,
    `update tasks set ${column} = :to where id = cast(:id as uuid) and ${column} = :from returning id`,
    { id: token.id, from: token.from, to: token.to },
  );
  return row !== undefined;
}
