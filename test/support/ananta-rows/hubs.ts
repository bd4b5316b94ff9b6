/** Agents with an address, and tasks that one installation hands to another. */
import { expect } from 'vitest';
import { type AnantaDesk, GOAL, LOCAL_AGENT, SHARED_TOKEN } from '../ananta-desk.ts';
import { type AnantaRow, number, text, underApi, underSystem } from './row.ts';

export const hubRows = ({ next, workerUrl, newTask, newDelegated }: AnantaDesk): readonly AnantaRow[] => [
  {
    method: 'POST',
    paths: underSystem('/register'),
    given: async () => ({
      body: {
        ...{ name: 'worker', url: workerUrl(), role: 'worker', token: null, client_hint: next() },
        registration_token: SHARED_TOKEN,
      },
    }),
    isPublic: true,
    keys: 'status',
    more: 'agent_id',
    like: { status: 'registered' },
  },
  {
    method: 'GET',
    paths: underSystem('/agents'),
    keys: 'url name role token last_seen status',
    more: 'agent_id',
    like: expect.arrayContaining([
      expect.objectContaining({ url: LOCAL_AGENT, token: null, last_seen: number, status: 'online' }),
      expect.objectContaining({ name: 'worker', role: 'worker', status: 'online' }),
    ]),
  },
  {
    method: 'POST',
    paths: underApi('/tasks/{id}/delegate'),
    given: async () => ({
      ids: [await newTask()],
      body: {
        ...{ agent_url: workerUrl(), agent_token: 'x', subtask_description: GOAL, priority: 'Medium' },
      },
    }),
    closedTo: 'user',
    keys: 'status subtask_id agent_url response',
    like: {
      ...{ status: 'delegated', subtask_id: expect.stringMatching(/^sub-[0-9a-f-]{36}$/), agent_url: text },
      response: { id: 'x', status: 'created' },
    },
  },
  {
    method: 'POST',
    paths: underApi('/tasks/{id}/subtask-callback'),
    given: async () => {
      const { parentId, partId } = await newDelegated();
      return {
        ids: [parentId],
        body: { id: partId, status: 'completed', last_output: 'done', last_exit_code: 0 },
      };
    },
    closedTo: 'user',
    keys: 'status',
    like: { status: 'updated' },
  },
];
