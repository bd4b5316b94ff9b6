/**
 * How much a process that passes bytes on may grow between two full collections. What is read from a socket is garbage
 * outside of V8's heap as soon as it has been written to the next, and V8 counts it against the heap's limit, which it
 * sets as near as a tenth above what lives. Output at full speed then makes it mark the whole heap several times a second
 * for nothing: more work than all else that this process does for it.
 */
import { setFlagsFromString } from 'node:v8';

/** Of what lives; V8 chooses between 10 and 300 by itself. */
const HEAP_GROWTH_PERCENT = 100;

/** For the whole process, and from its next full collection on. */
export function letHeapGrow(): void {
  setFlagsFromString(`--heap-growing-percent=${HEAP_GROWTH_PERCENT}`);
}
