/** Quality gates and guardrails: what they let pass, and what a setting that is written wrongly means. */
import { describe, expect, it } from 'vitest';
import { createHubTools } from '../../domain/hub-tools/run.ts';
import { judgeQuality, readQualityGates } from '../../domain/quality-gates.ts';
import { checkToolCalls, readToolGuardrails } from '../../domain/tool-guardrails.ts';

const { tools } = createHubTools({} as never);
const classOf = (name: string) => tools.find((tool) => tool.name === name)?.toolClass;
const calls = (...names: string[]) => names.map((name) => ({ name }));
const check = (names: string[], setting?: unknown) =>
  checkToolCalls(calls(...names), readToolGuardrails(setting), classOf);

describe('the guardrails', () => {
  it('let five calls pass, and no sixth', () => {
    expect(check(Array(5).fill('list_teams')).isAllowed).toBe(true);
    expect(check(Array(6).fill('list_teams'))).toMatchObject({
      isAllowed: false,
      blockedTools: ['list_teams'],
      blockedReasons: ['guardrail_max_tool_calls_exceeded'],
    });
  });

  it('let two calls pass that change something, and no third', () => {
    expect(check(['create_team', 'update_config']).isAllowed).toBe(true);
    expect(check(['create_team', 'create_template', 'update_config'])).toMatchObject({
      isAllowed: false,
      blockedTools: ['create_team', 'create_template', 'update_config'],
      blockedReasons: ['guardrail_max_external_calls_exceeded'],
      guardrails: {
        calls: 3,
        external_calls: 3,
        estimated_cost_units: 18,
        counts_by_class: { write: 2, admin: 1 },
      },
    });
  });

  it('let twenty units pass; a tool that nobody knows costs as well', () => {
    const many = { max_tool_calls_per_request: 0, max_external_calls_per_request: 0 };
    expect(check(Array(4).fill('create_team'), many).isAllowed).toBe(true);
    expect(check([...Array(4).fill('create_team'), 'list_roles'], many).blockedReasons).toEqual([
      'guardrail_max_estimated_cost_exceeded',
    ]);
    expect(check(Array(7).fill('no_such_tool'), many).isAllowed).toBe(false);
  });

  it('block classes, and as many of a class as the setting says', () => {
    const setting = {
      blocked_classes: ['admin'],
      class_limits: { write: 1 },
      class_cost_units: { write: 0 },
    };
    expect(check(['update_config', 'list_teams'], setting)).toMatchObject({
      blockedTools: ['update_config'],
      blockedReasons: ['guardrail_class_blocked:admin'],
    });
    expect(check(['create_team', 'assign_role'], setting)).toMatchObject({
      blockedTools: ['assign_role'],
      blockedReasons: ['guardrail_class_limit_exceeded:write'],
    });
    expect(check(Array(50).fill('update_config'), { enabled: false })).toMatchObject({ isAllowed: true });
  });

  it.each([
    [undefined],
    [null],
    ['x'],
    [7],
    [[]],
    [{ max_tool_calls_per_request: 'many', blocked_classes: 'admin' }],
  ])('keep their defaults for %j', (setting) => {
    expect(check(Array(5).fill('list_teams'), setting).isAllowed).toBe(true);
    expect(check(Array(6).fill('list_teams'), setting).isAllowed).toBe(false);
  });
});

describe('the tools', () => {
  it('are the thirteen that clients know, each with its class and arguments', () => {
    const byClass = (wanted: string) =>
      tools.filter((tool) => tool.toolClass === wanted).map(({ name }) => name);
    expect(byClass('read')).toEqual([
      'list_teams',
      'list_roles',
      'list_agents',
      'list_templates',
      'analyze_logs',
      'read_agent_logs',
    ]);
    expect(byClass('write')).toEqual([
      'create_team',
      'assign_role',
      'ensure_team_templates',
      'create_template',
      'update_template',
      'delete_template',
    ]);
    expect(byClass('admin')).toEqual(['update_config']);
    for (const { parameters } of tools) expect(parameters).toMatchObject({ type: 'object' });
  });

  it('hide in records what may be secret', () => {
    const hub = createHubTools({} as never);
    const call = { name: 'update_config', args: { key: 'api_key', value: 'sk-1' } };
    expect(hub.masked(call)).toEqual({ name: 'update_config', args: { key: 'api_key', value: '***' } });
  });
});

describe('the quality gates', () => {
  const task = { title: 'Look', goal: 'how full the disks are' };
  const coding = { title: 'Refactor the parser', goal: '' };
  const judge = (output: string, exitCode: number | null, about = task, setting?: unknown) =>
    judgeQuality(readQualityGates(setting), { output, exitCode }, about);

  it('want an exit code of 0, enough output, and markers where the task is about code', () => {
    expect(judge('a lot of output', 1)).toEqual({ isPassed: false, reason: 'non_zero_exit_code' });
    expect(judge('a lot of output', null)).toEqual({ isPassed: false, reason: 'non_zero_exit_code' });
    expect(judge(' short \n\n\n\n\n', 0)).toEqual({
      isPassed: false,
      reason: 'insufficient_output_evidence',
    });
    expect(judge('12345678', 0)).toEqual({ isPassed: true, reason: 'passed_generic' });
    expect(judge('all is finished', 0, coding)).toEqual({
      isPassed: false,
      reason: 'missing_coding_quality_markers',
    });
    expect(judge('12 tests PASSED', 0, coding)).toEqual({ isPassed: true, reason: 'passed_coding_markers' });
  });

  it('follow their setting, and their defaults where it is wrong', () => {
    expect(judge('', 1, task, { enabled: false })).toEqual({
      isPassed: true,
      reason: 'quality_gates_disabled',
    });
    expect(judge('', 0, task, { min_output_chars: 0 }).isPassed).toBe(true);
    const own = { coding_keywords: ['disks'], required_output_markers_for_coding: ['MEASURED'] };
    expect(judge('measured it', 0, task, own).reason).toBe('passed_coding_markers');
    expect(judge('short', 0, task, { min_output_chars: 'x', coding_keywords: 5 }).isPassed).toBe(false);
  });
});
