/**
 * Enrolment: a one-time token becomes this agent's own identity.
 *
 *   POST <url>/v1/agents/enrol { enrolmentToken, hostname, os, arch, version, agentId? } → { agentId, agentToken }
 */
import { release, type } from 'node:os';
import { z } from 'zod';
import { agentIdSchema } from '../contracts/agent-protocol.ts';
import { AGENT_VERSION, hostNameOf } from './agent.ts';
import type { AgentIdentity } from './home.ts';

/** The server must answer within this time, milliseconds. */
const ENROL_DEADLINE_MS = 15_000;

const replySchema = z.object({ agentId: agentIdSchema, agentToken: z.string().min(1) });

/** @throws Error with the server's status when it refuses; the token is not in the message. */
export async function enrol(options: {
  url: string;
  enrolmentToken: string;
  agentId: string | undefined;
  name?: string | undefined;
}): Promise<AgentIdentity> {
  const response = await fetch(`${options.url.replace(/\/+$/, '').replace(/^ws/, 'http')}/v1/agents/enrol`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      enrolmentToken: options.enrolmentToken,
      hostname: hostNameOf(options.name),
      os: `${type()} ${release()}`,
      arch: process.arch,
      version: AGENT_VERSION,
      ...(options.agentId === undefined ? {} : { agentId: options.agentId }),
    }),
    // The token is for this server only.
    redirect: 'error',
    signal: AbortSignal.timeout(ENROL_DEADLINE_MS),
  });
  if (!response.ok) {
    const detail = (await response.text()).slice(0, 300);
    throw new Error(`the server refused the enrolment: ${response.status} ${detail}`);
  }
  return replySchema.parse(await response.json());
}
