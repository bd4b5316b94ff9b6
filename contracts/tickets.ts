/** One-time tickets: how a browser opens a WebSocket or an event stream without a token in an address. */
import { z } from 'zod';
import { defineRoute } from './route.ts';
import { timeSchema } from './shared.ts';

/** Time in which a ticket must be used, seconds. */
export const TICKET_TTL_S = 60;

export const ticketSchema = z
  .object({
    ticket: z.string().meta({ description: 'Good for one connection: `?ticket=…`' }),
    expiresAt: timeSchema,
  })
  .meta({ id: 'Ticket' });
export type TicketView = z.infer<typeof ticketSchema>;

export const createTicketRoute = defineRoute({
  family: 'house',
  tags: ['auth'],
  auth: 'user',
  method: 'POST',
  path: '/v1/auth/tickets',
  summary: 'Make a ticket for one WebSocket or event stream',
  description:
    'Browsers cannot send headers with either, and an address ends up in logs: put the ticket there instead of a ' +
    'token, as `?ticket=`. It opens one connection within 60 seconds, as the session that asked for it, on every ' +
    'path that takes a WebSocket or answers an event stream. It ends with its session.',
  rateClass: 'write',
  verb: 'create',
  resource: 'ticket',
  replies: { 201: ticketSchema },
});
