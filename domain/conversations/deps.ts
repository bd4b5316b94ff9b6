/** What the functions on conversations need, and whose conversations they are. */
import { problem } from '../../contracts/errors.ts';
import type { Verb } from '../../contracts/principal.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import type { Chat } from '../metered-chat.ts';
import { assertCan } from '../policy.ts';

export type ConversationDeps = DomainDeps & { chat: Pick<Chat, 'stream'> };

/**
 * Conversations are a person's own, an administrator's no less: machines have none, and nobody reads another's.
 * @returns the user whose conversations the actor may use
 * @throws forbidden
 */
export function ownerFor(actor: Actor, verb: Verb): string {
  assertCan(actor.principal, verb, 'conversation');
  if (actor.principal.kind !== 'user') throw problem('forbidden');
  return actor.principal.id;
}
