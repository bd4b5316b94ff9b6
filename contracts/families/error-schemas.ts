import { z } from 'zod';
import { aliceErrorSchema } from './alice.ts';
import { anantaErrorSchema } from './ananta.ts';
import { dexErrorSchema } from './dex.ts';
import type { Family } from './family.ts';
import { problemSchema } from './house.ts';
import { steelErrorSchema } from './steel.ts';

/** What `/api/v1/auth/*` answers: the keys of both families that share it. */
const dexAliceErrorSchema = z
  .object({ ...dexErrorSchema.shape, ...aliceErrorSchema.shape })
  .meta({ id: 'DexAliceError' });

/** The error body of each family. */
export const errorSchemas = {
  house: problemSchema,
  ananta: anantaErrorSchema,
  steel: steelErrorSchema,
  dex: dexErrorSchema,
  alice: aliceErrorSchema,
  'dex-alice': dexAliceErrorSchema,
} as const satisfies Record<Family, z.ZodType>;
