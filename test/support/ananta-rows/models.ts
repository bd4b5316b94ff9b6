/** Prompts to the language model and to command line programs. */
import { expect } from 'vitest';
import { type AnantaRow, number, text } from './row.ts';

const generated = '/llm/generate';
const listAgents = { name: 'list_agents', args: {} };
const strategy = expect.objectContaining({ name: 'lexical', semantic: false });

export const modelRows: readonly AnantaRow[] = [
  {
    method: 'POST',
    paths: [generated],
    body: {
      ...{ prompt: 'hello', tool_calls: null, confirm_tool_calls: false, stream: false },
      ...{ history: [{ role: 'user', content: 'before' }], config: { provider: 'mock' } },
    },
    closedTo: 'viewer',
    keys: 'response',
    like: { response: text },
  },
  {
    method: 'POST',
    paths: [generated],
    body: { prompt: 'call list_agents' },
    keys: 'response requires_confirmation thought tool_calls',
    like: { response: text, requires_confirmation: true, thought: text, tool_calls: [listAgents] },
  },
  {
    method: 'POST',
    paths: [generated],
    body: { prompt: 'x', tool_calls: [listAgents, { name: 'no_tool' }], confirm_tool_calls: true },
    keys: 'response tool_results blocked_tools',
    like: {
      response: text,
      tool_results: [
        { tool: 'list_agents', success: true },
        { tool: 'no_tool', success: false },
      ],
      blocked_tools: ['no_tool'],
    },
  },
  {
    method: 'POST',
    paths: ['/api/sgpt/execute'],
    body: { prompt: 'explain', options: [], backend: 'auto', model: null, task_kind: 'doc' },
    closedTo: 'viewer',
    keys: 'output errors backend routing',
    more: 'command_id output_truncated',
    like: {
      ...{ output: text, errors: '', backend: 'model' },
      routing: {
        ...{ policy_version: text, task_kind: 'doc', requested_backend: 'auto', reason: text },
        effective_backend: 'model',
      },
    },
  },
  {
    method: 'POST',
    paths: ['/api/sgpt/execute'],
    body: { prompt: 'where is startUrlWorker', use_hybrid_context: true },
    keys: 'output errors backend routing context',
    more: 'command_id output_truncated',
    like: { context: { strategy, policy_version: text, chunk_count: number, token_estimate: number } },
  },
  {
    method: 'GET',
    paths: ['/api/sgpt/backends'],
    keys: 'configured_backend supported_backends runtime',
    more: 'fallback',
    like: {
      configured_backend: 'auto',
      supported_backends: {
        sgpt: {
          ...{ display_name: text, supports_model: true, supported_flags: expect.any(Array) },
          ...{ supports_temperature: false, supports_top_p: false },
        },
        opencode: expect.any(Object),
        aider: expect.any(Object),
        mistral_code: expect.any(Object),
      },
      runtime: {
        sgpt: {
          ...{ binary_path: null, binary_available: false, health_score: number, cooldown_active: false },
          ...{ cooldown_until: null, last_success_at: null, consecutive_failures: 0 },
        },
      },
    },
  },
  {
    method: 'POST',
    paths: ['/api/sgpt/context'],
    body: { query: 'startUrlWorker', include_context_text: true },
    closedTo: 'user',
    keys: 'query strategy policy_version chunks context_text token_estimate',
    like: { query: 'startUrlWorker', strategy, chunks: expect.any(Array), context_text: text },
  },
  {
    method: 'POST',
    paths: ['/api/sgpt/context'],
    body: { query: 'startUrlWorker', include_context_text: false },
    keys: 'query strategy policy_version chunks token_estimate',
  },
  {
    method: 'POST',
    paths: ['/api/sgpt/source'],
    body: { source_path: 'ananta-desk.ts', max_chars: 200 },
    closedTo: 'user',
    keys: 'source_path preview truncated line_count',
    like: { source_path: 'ananta-desk.ts', preview: text, truncated: true, line_count: number },
  },
];
