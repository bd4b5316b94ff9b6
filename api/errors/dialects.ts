import type { Family } from '../../contracts/families/family.ts';
import { aliceErrors, dexAliceErrors } from './alice.ts';
import { anantaErrors } from './ananta.ts';
import { dexErrors } from './dex.ts';
import type { ErrorDialect } from './error-fact.ts';
import { houseErrors } from './house.ts';
import { steelErrors } from './steel.ts';

/** How each family words its errors. */
export const errorDialects: Record<Family, ErrorDialect> = {
  house: houseErrors,
  ananta: anantaErrors,
  steel: steelErrors,
  dex: dexErrors,
  alice: aliceErrors,
  'dex-alice': dexAliceErrors,
};
