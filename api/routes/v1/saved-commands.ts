import {
  createSavedCommandRoute,
  deleteSavedCommandRoute,
  executeSavedCommandRoute,
  getSavedCommandRoute,
  listSavedCommandsRoute,
  listSavedRevisionsRoute,
  restoreSavedRevisionRoute,
  updateSavedCommandRoute,
} from '../../../contracts/saved-command-routes.ts';
import { getBatch, isBatchFinished } from '../../../domain/commands/read.ts';
import { executeSavedCommand, refusalOf } from '../../../domain/saved-commands/execute.ts';
import {
  createSavedCommand,
  deleteSavedCommand,
  getSavedCommand,
  listRevisionPage,
  listSavedPage,
  restoreRevision,
  updateSavedCommand,
} from '../../../domain/saved-commands/store.ts';
import { watchBatches } from '../../events/batches.ts';
import { type MountedRoute, mount } from '../../mount.ts';
import type { CommandRouteDeps } from './commands.ts';

/** `/v1/saved-commands`. */
export function savedCommandRoutes(deps: CommandRouteDeps): MountedRoute[] {
  return [
    mount(listSavedCommandsRoute, async (request) => ({
      status: 200,
      body: await listSavedPage(deps, request, request.query),
    })),
    mount(createSavedCommandRoute, async (request) => {
      const saved = await createSavedCommand(deps, request, request.body, request.idempotencyKey);
      return { status: 201, headers: { Location: `/v1/saved-commands/${saved.id}` }, body: saved };
    }),
    mount(getSavedCommandRoute, async (request) => ({
      status: 200,
      body: await getSavedCommand(deps, request, request.params.savedCommandId),
    })),
    mount(updateSavedCommandRoute, async (request) => ({
      status: 200,
      body: await updateSavedCommand(deps, request, request.params.savedCommandId, request.body),
    })),
    mount(deleteSavedCommandRoute, async (request) => {
      await deleteSavedCommand(deps, request, request.params.savedCommandId);
      return { status: 204 };
    }),
    mount(listSavedRevisionsRoute, async (request) => ({
      status: 200,
      body: await listRevisionPage(deps, request, request.params.savedCommandId, request.query),
    })),
    mount(restoreSavedRevisionRoute, async (request) => {
      const { savedCommandId, revision } = request.params;
      return { status: 200, body: await restoreRevision(deps, request, savedCommandId, revision) };
    }),
    executeRoute(deps),
  ];
}

const executeRoute = (deps: CommandRouteDeps): MountedRoute =>
  mount(executeSavedCommandRoute, async (request) => {
    const { waitMs, ...execution } = request.body;
    // Listens before anything can finish.
    const watched = watchBatches(deps.hub);
    try {
      const { savedCommandId } = request.params;
      const run = await executeSavedCommand(deps, request, savedCommandId, execution, request.idempotencyKey);
      const [refused] = run.refused;
      if (run.batchIds.length === 0 && refused !== undefined) throw refusalOf(refused);
      const deadline = Date.now() + waitMs;
      let isFinished = true;
      for (const batchId of waitMs === 0 ? [] : run.batchIds) {
        const read = () => isBatchFinished(deps, batchId);
        const timeoutMs = Math.max(0, deadline - Date.now());
        isFinished =
          (await watched.wait(batchId, { isNew: run.created, read, timeoutMs, signal: request.signal })) &&
          isFinished;
      }
      const batches = await Promise.all(run.batchIds.map((batchId) => getBatch(deps, request, batchId)));
      const { id: runId, revision } = run;
      return {
        status: isFinished ? (run.created ? 201 : 200) : 202,
        body: { runId, savedCommandId: run.savedCommandId, revision, batches, refused: run.refused },
      };
    } finally {
      watched.stop();
    }
  });
