import {
  cancelBatchRoute,
  cancelCommandRoute,
  followOutputRoute,
  getBatchRoute,
  getCommandRoute,
  listCommandsRoute,
  readOutputRoute,
  rerunBatchRoute,
  runCommandsRoute,
} from '../../../contracts/command-routes.ts';
import { cancelBatch, cancelCommand } from '../../../domain/commands/cancel.ts';
import {
  getBatch,
  getCommand,
  isBatchFinished,
  listCommandViews,
  readOutputRange,
  viewFinishedBatch,
} from '../../../domain/commands/read.ts';
import { rerunFailed } from '../../../domain/commands/rerun.ts';
import { runCommands } from '../../../domain/commands/run.ts';
import type { DomainDeps } from '../../../domain/deps.ts';
import { requestKeyOf } from '../../../domain/idempotency.ts';
import { watchBatches } from '../../events/batches.ts';
import type { Hub } from '../../events/hub.ts';
import { feedOutput, openOutputPosition } from '../../events/output-feed.ts';
import { type MountedRoute, mount } from '../../mount.ts';

export type CommandRouteDeps = DomainDeps & { hub: Hub };

/** `/v1/commands` and `/v1/batches`: ad-hoc work and the ledger. */
export function commandRoutes(deps: CommandRouteDeps): MountedRoute[] {
  return [...ledgerRoutes(deps), ...batchRoutes(deps), ...outputRoutes(deps)];
}

function ledgerRoutes(deps: CommandRouteDeps): MountedRoute[] {
  return [
    mount(listCommandsRoute, async (request) => {
      return { status: 200, body: await listCommandViews(deps, request, request.query) };
    }),
    mount(getCommandRoute, async (request) => {
      return { status: 200, body: await getCommand(deps, request, request.params.commandId) };
    }),
    mount(cancelCommandRoute, async (request) => {
      const { commandId } = request.params;
      const key = requestKeyOf(request, { commandId, ...request.body });
      await cancelCommand(deps, request, commandId, request.body.reason, key);
      return { status: 200, body: await getCommand(deps, request, commandId) };
    }),
  ];
}

function batchRoutes(deps: CommandRouteDeps): MountedRoute[] {
  return [
    mount(runCommandsRoute, async (request) => {
      const { waitMs, ...body } = request.body;
      // Listens before anything can finish, so that a batch of our own needs no first look.
      const batches = watchBatches(deps.hub);
      try {
        const { batchId, act, created } = await runCommands(deps, request, body, request.idempotencyKey);
        const isFinished =
          waitMs === 0 ||
          (await batches.wait(batchId, {
            isNew: created,
            read: () => isBatchFinished(deps, batchId),
            timeoutMs: waitMs,
            signal: request.signal,
          }));
        const status = isFinished ? (created ? 201 : 200) : 202;
        const headers = { Location: `/v1/batches/${batchId}` };
        const rows = batches.rowsOf(batchId);
        const view =
          rows === undefined || act === undefined
            ? await getBatch(deps, request, batchId)
            : viewFinishedBatch(request, rows, act);
        return { status, headers, body: view };
      } finally {
        batches.stop();
      }
    }),
    mount(getBatchRoute, async (request) => {
      return { status: 200, body: await getBatch(deps, request, request.params.batchId) };
    }),
    mount(cancelBatchRoute, async (request) => {
      const { batchId } = request.params;
      const key = requestKeyOf(request, { batchId, ...request.body });
      await cancelBatch(deps, request, batchId, request.body.reason, key);
      return { status: 200, body: await getBatch(deps, request, batchId) };
    }),
    mount(rerunBatchRoute, async (request) => {
      const { params, body, idempotencyKey } = request;
      const { batchId, created } = await rerunFailed(deps, request, params.batchId, body, idempotencyKey);
      const headers = { Location: `/v1/batches/${batchId}` };
      return { status: created ? 201 : 200, headers, body: await getBatch(deps, request, batchId) };
    }),
  ];
}

function outputRoutes(deps: CommandRouteDeps): MountedRoute[] {
  return [
    mount(readOutputRoute, async (request) => {
      const { commandId, stream } = request.params;
      const range = await readOutputRange(deps, request, commandId, { stream, ...request.query });
      return {
        status: 200,
        headers: {
          'X-Output-Offset': String(range.offset),
          'X-Output-Next-Offset': String(range.nextOffset),
          'X-Output-Stored-Bytes': String(range.storedBytes),
          'X-Output-Complete': String(range.complete),
          'X-Output-Truncated': String(range.truncated),
          'Content-Length': String(range.nextOffset - range.offset),
          'Cache-Control': 'no-store',
        },
        body: range.parts,
      };
    }),
    mount(followOutputRoute, async (request) => {
      const { commandId } = request.params;
      const cursor = request.lastEventId ?? request.query.lastEventId ?? null;
      const position = await openOutputPosition(deps, request, commandId, cursor);
      return {
        status: 200,
        stream: (stream, viewer) => feedOutput(deps, { actor: request, viewer, commandId, position }, stream),
      };
    }),
  ];
}
