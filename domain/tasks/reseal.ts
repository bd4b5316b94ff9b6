/** The sealed tokens of tasks, for a change of keys (domain/reseal-secrets.ts). */
import type { Db } from '../../db/database.ts';
import { listSealedTaskTokens, replaceSealedTaskToken } from '../../db/sealed-task-tokens.ts';
import { callbackTokenName, taskAgentTokenName } from './task-secrets.ts';

/** Tasks read at once. */
const PAGE = 500;
const NIL_UUID = '00000000-0000-0000-0000-000000000000';

export async function* sealedOfTasks(db: Db) {
  for (let afterId = NIL_UUID; ; ) {
    const page = await listSealedTaskTokens(db, { afterId, limit: PAGE });
    for (const task of page) {
      const { id } = task;
      const columns = [
        ['sealedCallbackToken', callbackTokenName(id)],
        ['sealedAgentToken', taskAgentTokenName(id)],
      ] as const;
      for (const [column, name] of columns) {
        const sealed = task[column];
        if (sealed === null) continue;
        yield {
          name,
          sealed,
          replace: (to: string) => replaceSealedTaskToken(db, { id, column, from: sealed, to }),
        };
      }
      afterId = id;
    }
    if (page.length < PAGE) return;
  }
}
