import { noStore } from '../../../contracts/auth.ts';
import { createTicketRoute } from '../../../contracts/tickets.ts';
import type { DomainDeps } from '../../../domain/deps.ts';
import { createTicket } from '../../../domain/identity/tickets.ts';
import { type MountedRoute, mount } from '../../mount.ts';

/** `/v1/auth/tickets`. */
export function ticketRoutes(deps: DomainDeps): MountedRoute[] {
  return [
    mount(createTicketRoute, async (request) => {
      return { status: 201, headers: noStore, body: await createTicket(deps, request) };
    }),
  ];
}
