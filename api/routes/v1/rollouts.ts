import {
  approveRolloutRoute,
  cancelRolloutRoute,
  createRolloutRoute,
  getRolloutRoute,
  listRolloutBatchesRoute,
  listRolloutsRoute,
  listRolloutTargetsRoute,
  pauseRolloutRoute,
  rerunRolloutRoute,
  resumeRolloutRoute,
} from '../../../contracts/rollout-routes.ts';
import type { Actor, DomainDeps } from '../../../domain/deps.ts';
import { requestKeyOf } from '../../../domain/idempotency.ts';
import {
  approveRollout,
  cancelRollout,
  pauseRollout,
  resumeRollout,
} from '../../../domain/rollouts/control.ts';
import { createRollout, rerunRollout } from '../../../domain/rollouts/create.ts';
import { getRollout, listBatchPage, listRolloutPage, listTargetPage } from '../../../domain/rollouts/read.ts';
import { type MountedRoute, mount } from '../../mount.ts';

/** `/v1/rollouts`: one run over many agents, batch after batch. */
export function rolloutRoutes(deps: DomainDeps): MountedRoute[] {
  return [...readingRoutes(deps), ...makingRoutes(deps), ...controlRoutes(deps)];
}

function readingRoutes(deps: DomainDeps): MountedRoute[] {
  return [
    mount(listRolloutsRoute, async (request) => ({
      status: 200,
      body: await listRolloutPage(deps, request, request.query),
    })),
    mount(getRolloutRoute, async (request) => ({
      status: 200,
      body: await getRollout(deps, request, request.params.rolloutId),
    })),
    mount(listRolloutTargetsRoute, async (request) => ({
      status: 200,
      body: await listTargetPage(deps, request, request.params.rolloutId, request.query),
    })),
    mount(listRolloutBatchesRoute, async (request) => ({
      status: 200,
      body: await listBatchPage(deps, request, request.params.rolloutId, request.query),
    })),
  ];
}

function makingRoutes(deps: DomainDeps): MountedRoute[] {
  const answer = async (actor: Actor, { id, created }: { id: string; created: boolean }) => ({
    status: created ? (201 as const) : (200 as const),
    headers: { Location: `/v1/rollouts/${id}` },
    body: await getRollout(deps, actor, id),
  });
  return [
    mount(createRolloutRoute, async (request) =>
      answer(request, await createRollout(deps, request, request.body, request.idempotencyKey)),
    ),
    mount(rerunRolloutRoute, async (request) => {
      const { rolloutId } = request.params;
      const made = await rerunRollout(deps, request, rolloutId, request.body, request.idempotencyKey);
      return answer(request, made);
    }),
  ];
}

function controlRoutes(deps: DomainDeps): MountedRoute[] {
  const answer = async (actor: Actor, rolloutId: string) => ({
    status: 200 as const,
    body: await getRollout(deps, actor, rolloutId),
  });
  return [
    mount(pauseRolloutRoute, async (request) => {
      const { rolloutId } = request.params;
      await pauseRollout(deps, request, rolloutId, requestKeyOf(request, { rolloutId }));
      return answer(request, rolloutId);
    }),
    mount(resumeRolloutRoute, async (request) => {
      const { rolloutId } = request.params;
      await resumeRollout(deps, request, rolloutId, requestKeyOf(request, { rolloutId }));
      return answer(request, rolloutId);
    }),
    mount(approveRolloutRoute, async (request) => {
      const { rolloutId } = request.params;
      const key = requestKeyOf(request, { rolloutId, ...request.body });
      await approveRollout(deps, request, rolloutId, request.body, key);
      return answer(request, rolloutId);
    }),
    mount(cancelRolloutRoute, async (request) => {
      const { rolloutId } = request.params;
      const key = requestKeyOf(request, { rolloutId, ...request.body });
      await cancelRollout(deps, request, rolloutId, request.body.reason, key);
      return answer(request, rolloutId);
    }),
  ];
}
