/** Make, read, change and delete subscriptions. Whoever manages them sees events of everybody: administrators. */
import { validate as isUuid, v7 as uuidv7 } from 'uuid';
import { problem } from '../../contracts/errors.ts';
import type { Page } from '../../contracts/shared.ts';
import {
  type CreateWebhookBody,
  MAX_WEBHOOKS,
  PREVIOUS_SECRET_HOURS,
  type UpdateWebhookBody,
  type WebhookView,
} from '../../contracts/webhooks.ts';
import { countPending } from '../../db/webhook-deliveries.ts';
import { deleteTarget, insertTarget, markNews } from '../../db/webhook-targets.ts';
import {
  countWebhooks,
  deleteWebhook,
  findWebhook,
  insertWebhook,
  listWebhooks,
  lockWebhook,
  updateWebhook,
  type WebhookChange,
  type WebhookRow,
} from '../../db/webhooks.ts';
import { pageOfRows, uuidPositionOf } from '../cursor.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { bodySha256, claimSecretReply } from '../idempotency.ts';
import { assertCan } from '../policy.ts';
import { transact, type Unit } from '../transact.ts';
import { type WebhookDeps, webhookBearerName, webhookSecretName } from './deps.ts';
import { createWebhookSecret } from './sign.ts';

const HOUR_MS = 60 * 60 * 1_000;
/** Secrets that sign besides the present one; they are kept as one text, with blanks between them. */
const MAX_EARLIER_SECRETS = 4;

export type WebhookWithSecret = WebhookView & { secret: string };

/** Newest first. @throws forbidden, invalid_cursor */
export async function listWebhookPage(
  deps: DomainDeps,
  actor: Actor,
  { limit, cursor }: { limit: number; cursor?: string | undefined },
): Promise<Page<WebhookView>> {
  assertCan(actor.principal, 'list', 'webhook');
  const rows = await listWebhooks(deps.db, { before: uuidPositionOf(cursor), limit: limit + 1 });
  const page = pageOfRows(rows, limit, (row) => ({ at: row.createdAt, id: row.id }));
  const pending = await countPending(
    deps.db,
    page.items.map(({ id }) => id),
  );
  return {
    items: page.items.map((row) => presentWebhook(row, pending.get(row.id) ?? 0)),
    nextCursor: page.nextCursor,
  };
}

/** @throws forbidden, webhook_not_found */
export async function getWebhook(deps: DomainDeps, actor: Actor, id: string): Promise<WebhookView> {
  assertCan(actor.principal, 'read', 'webhook');
  const row = isUuid(id) ? await findWebhook(deps.db, id) : undefined;
  if (row === undefined) throw webhookNotFound(id);
  const pending = await countPending(deps.db, [id]);
  return presentWebhook(row, pending.get(id) ?? 0);
}

/** @throws forbidden, webhook_url_refused, conflict (too many, or the key was used before), idempotency_conflict */
export async function createWebhook(
  deps: WebhookDeps,
  actor: Actor,
  body: CreateWebhookBody,
  idempotencyKey: string | null,
): Promise<WebhookWithSecret> {
  assertCan(actor.principal, 'create', 'webhook');
  assertUrl(deps, body.url);
  const id = uuidv7();
  const secret = body.secret ?? createWebhookSecret();
  await transact(deps, async (unit) => {
    await claimSecret(unit, actor, idempotencyKey, bodySha256(body), 'webhook', id);
    if ((await countWebhooks(unit.trx)) >= MAX_WEBHOOKS) {
      throw problem('conflict', { reason: `there are ${MAX_WEBHOOKS} webhooks already` });
    }
    await insertWebhook(unit.trx, {
      id,
      name: body.name,
      url: body.url,
      eventTypes: [...new Set(body.eventTypes)],
      sealedSecret: deps.secrets.seal(webhookSecretName(id), secret),
      sealedBearerToken: sealBearer(deps, id, body.bearerToken ?? null),
      creatorKind: actor.principal.kind,
      creatorId: actor.principal.id,
      creatorName: actor.principal.name,
    });
    await insertTarget(unit.trx, { id, kind: 'subscription' });
    unit.audit(actor, {
      action: 'webhook.create',
      targetKind: 'webhook',
      targetId: id,
      details: { name: body.name, host: hostOf(body.url), eventTypes: body.eventTypes },
    });
  });
  const row = await findWebhook(deps.db, id);
  if (row === undefined) throw webhookNotFound(id);
  return { ...presentWebhook(row, 0), secret };
}

/** What is not given stays as it is. @throws forbidden, webhook_not_found, webhook_url_refused */
export async function changeWebhook(
  deps: WebhookDeps,
  actor: Actor,
  id: string,
  body: UpdateWebhookBody,
): Promise<WebhookView> {
  assertCan(actor.principal, 'update', 'webhook');
  if (body.url !== undefined) assertUrl(deps, body.url);
  await transact(deps, async (unit) => {
    const present = await getLocked(unit, id);
    await updateWebhook(unit.trx, id, {
      ...(body.name !== undefined && { name: body.name }),
      ...(body.url !== undefined && { url: body.url }),
      ...(body.eventTypes !== undefined && { eventTypes: [...new Set(body.eventTypes)] }),
      ...(body.bearerToken !== undefined && { sealedBearerToken: sealBearer(deps, id, body.bearerToken) }),
      ...stateChange(present, body.state),
    });
    // What was pending while it was paused goes on.
    if (body.state === 'active' && present.state !== 'active') await markNews(unit.trx, [id]);
    unit.audit(actor, {
      action: 'webhook.update',
      targetKind: 'webhook',
      targetId: id,
      details: {
        changed: Object.keys(body).sort(),
        ...(body.url !== undefined && { host: hostOf(body.url) }),
        ...(body.state !== undefined && { state: body.state }),
      },
    });
  });
  return getWebhook(deps, actor, id);
}

function stateChange(present: WebhookRow, state: UpdateWebhookBody['state']): WebhookChange {
  if (state === undefined || state === present.state) return {};
  return { state, stateReason: null, failingSince: null };
}

/** With all that is pending for it, and its log. @throws forbidden, webhook_not_found */
export async function removeWebhook(deps: DomainDeps, actor: Actor, id: string): Promise<void> {
  assertCan(actor.principal, 'delete', 'webhook');
  await transact(deps, async (unit) => {
    const present = await getLocked(unit, id);
    await deleteTarget(unit.trx, id);
    await deleteWebhook(unit.trx, id);
    unit.audit(actor, {
      action: 'webhook.delete',
      targetKind: 'webhook',
      targetId: id,
      details: { name: present.name, host: hostOf(present.url) },
    });
  });
}

/** The earlier secret signs too for a while. @throws forbidden, webhook_not_found, conflict, idempotency_conflict */
export async function rotateWebhookSecret(
  deps: WebhookDeps,
  actor: Actor,
  id: string,
  idempotencyKey: string | null,
): Promise<WebhookWithSecret> {
  assertCan(actor.principal, 'update', 'webhook');
  const secret = createWebhookSecret();
  await transact(deps, async (unit) => {
    const present = await getLocked(unit, id);
    await claimSecret(unit, actor, idempotencyKey, bodySha256({ rotate: id }), 'webhook_secret', id);
    await updateWebhook(unit.trx, id, {
      sealedSecret: deps.secrets.seal(webhookSecretName(id), secret),
      sealedPreviousSecret: sealEarlier(deps, present),
      previousUntil: new Date(Date.now() + PREVIOUS_SECRET_HOURS * HOUR_MS),
    });
    unit.audit(actor, { action: 'webhook.rotate_secret', targetKind: 'webhook', targetId: id });
  });
  return { ...(await getWebhook(deps, actor, id)), secret };
}

/** What signs besides: the secret until now, and those that did so far. Who rotates again may not have seen the answer. */
function sealEarlier({ secrets }: WebhookDeps, present: WebhookRow): string {
  const { id, sealedSecret, sealedPreviousSecret: before } = present;
  if (before === null || !isStillSigning(present)) return sealedSecret;
  const name = webhookSecretName(id);
  const earlier = [secrets.open(name, sealedSecret), ...secrets.open(name, before).split(' ')];
  return secrets.seal(name, earlier.slice(0, MAX_EARLIER_SECRETS).join(' '));
}

async function getLocked(unit: Unit, id: string): Promise<WebhookRow> {
  const row = isUuid(id) ? await lockWebhook(unit.trx, id) : undefined;
  if (row === undefined) throw webhookNotFound(id);
  return row;
}

async function claimSecret(
  unit: Unit,
  actor: Actor,
  key: string | null,
  sha256: string,
  resourceKind: string,
  resourceId: string,
): Promise<void> {
  if (key === null) return;
  const principalId = actor.principal.id;
  await claimSecretReply(unit.trx, { principalId, key, bodySha256: sha256, resourceKind, resourceId });
}

/** As far as it can be said without asking a resolver. @throws webhook_url_refused */
export function assertUrl({ webhookUrls }: Pick<WebhookDeps, 'webhookUrls'>, url: string): void {
  const refused = webhookUrls.inspect(url);
  if (refused !== undefined) throw problem('webhook_url_refused', { reason: refused.message });
}

const sealBearer = ({ secrets }: WebhookDeps, id: string, token: string | null): string | null =>
  token === null ? null : secrets.seal(webhookBearerName(id), token);

/** Paths and queries of webhooks often hold secrets: the audit trail names the host alone. */
const hostOf = (url: string): string => new URL(url).host;

export const webhookNotFound = (webhookId: string) => problem('webhook_not_found', { webhookId });

const presentWebhook = (row: WebhookRow, pending: number): WebhookView => ({
  id: row.id,
  name: row.name,
  url: row.url,
  eventTypes: row.eventTypes,
  hasBearerToken: row.sealedBearerToken !== null,
  state: row.state,
  stateReason: row.stateReason,
  failingSince: row.failingSince?.toISOString() ?? null,
  previousSecretUntil: isStillSigning(row) ? (row.previousUntil?.toISOString() ?? null) : null,
  pending,
  createdBy: { kind: row.creatorKind, id: row.creatorId, name: row.creatorName },
  createdAt: row.createdAt.toISOString(),
  updatedAt: row.updatedAt.toISOString(),
});

/** Does the secret before the last rotation sign too? */
export const isStillSigning = ({ previousUntil }: Pick<WebhookRow, 'previousUntil'>): boolean =>
  previousUntil !== null && previousUntil.getTime() > Date.now();
