import { javascriptAgent } from './agent-fixture.ts';
import { executionScenarios } from './execution-scenarios.ts';

executionScenarios(javascriptAgent);
