/** Part of the build: writes the workflow bundle beside the built worker, so that a start need not bundle. */
import { writeFileSync } from 'node:fs';
import { buildWorkflowBundle, prebuiltBundlePath } from './bundle.ts';

writeFileSync(prebuiltBundlePath, await buildWorkflowBundle());
