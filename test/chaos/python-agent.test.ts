/** The Python agent keeps what the JavaScript agent keeps: the same scenarios, against a process of it. */
import { describe } from 'vitest';
import { executionScenarios } from '../agent/execution-scenarios.ts';
import { killScenarios } from '../agent/kill-scenarios.ts';
import { protocolScenarios } from '../agent/protocol-scenarios.ts';
import { restartScenarios } from '../agent/restart-scenarios.ts';
import { pythonAgent } from '../agent-python/python-agent.ts';

describe('protocol', () => protocolScenarios(pythonAgent));
describe('execution', () => executionScenarios(pythonAgent));
describe('kill rule', () => killScenarios(pythonAgent));
describe('restart', () => restartScenarios(pythonAgent));
