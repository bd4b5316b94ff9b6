/** Demonstration agents: machines that nobody runs, to look at lists and forms. */
import type { AgentRow } from '../../db/agents.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { type Registration, registerAgent } from './register.ts';

const demoMachines: readonly Registration[] = [
  {
    hostname: 'DEMO-DESKTOP-01',
    os: 'Windows 11 Pro',
    version: '1.0.0',
    address: '192.0.2.11',
    tags: ['demo', 'windows'],
  },
  {
    hostname: 'DEMO-SERVER-01',
    os: 'Windows Server 2022',
    version: '1.0.0',
    address: '192.0.2.12',
    tags: ['demo', 'windows', 'server'],
  },
  {
    hostname: 'demo-web-01',
    os: 'Debian GNU/Linux 12',
    version: '1.0.0',
    address: '192.0.2.13',
    tags: ['demo', 'linux', 'server'],
  },
];

/** The same three however often it is asked. @throws forbidden */
export async function seedDemoAgents(deps: DomainDeps, actor: Actor): Promise<AgentRow[]> {
  const agents: AgentRow[] = [];
  for (const machine of demoMachines) agents.push((await registerAgent(deps, actor, machine)).agent);
  return agents;
}
