/** The hub itself: probes, figures, the audit trail. */
import { expect } from 'vitest';
import { type AnantaRow, adminOnly, number, text, underSystem } from './row.ts';

const figures = {
  agents: { total: number, online: number, offline: number },
  shell_pool: { total: number, free: number, busy: number },
  resources: { cpu_percent: number, ram_bytes: number },
  timestamp: number,
};

export const systemRows: readonly AnantaRow[] = [
  {
    method: 'GET',
    paths: ['/health', '/api/system/health'],
    isPublic: true,
    keys: 'agent checks',
    like: { agent: text, checks: { shell: { status: 'ok' }, llm_providers: { mock: 'ok' } } },
  },
  {
    method: 'GET',
    paths: underSystem('/ready'),
    isPublic: true,
    keys: 'ready checks',
    like: {
      ready: true,
      checks: {
        hub: { status: 'ok', latency: number, code: 200 },
        llm: { provider: 'mock', status: 'ok', latency: number, code: 200 },
      },
    },
  },
  {
    method: 'GET',
    paths: underSystem('/stats'),
    keys: 'agents tasks shell_pool resources timestamp agent_name',
    like: {
      ...figures,
      tasks: { total: number, completed: number, failed: number, todo: number, in_progress: number },
      agent_name: text,
    },
  },
  {
    method: 'GET',
    paths: underSystem('/stats/history?limit=10&offset=0'),
    keys: 'timestamp agents tasks shell_pool resources',
    like: expect.arrayContaining([expect.objectContaining(figures)]),
  },
  {
    method: 'GET',
    paths: underSystem('/audit-logs?limit=3&offset=0'),
    ...adminOnly,
    keys: 'id timestamp username ip action details',
    like: expect.arrayContaining([
      expect.objectContaining({
        timestamp: number,
        username: text,
        action: text,
        details: expect.any(Object),
      }),
    ]),
  },
  {
    method: 'POST',
    paths: underSystem('/audit/analyze'),
    ...adminOnly,
    keys: 'analysis',
    like: { analysis: text },
  },
];
