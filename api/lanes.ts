export type InLane<Key> = (key: Key, work: () => Promise<void>) => Promise<void>;

/**
 * A lane for each key: its work is done one after the other, in order, whether what came before failed or not. So an agent
 * that floods takes one connection of the pool, not all.
 */
export function createLanes<Key>(): InLane<Key> {
  const newest = new Map<Key, Promise<void>>();
  return (key, work) => {
    const before = newest.get(key) ?? Promise.resolve();
    const turn = before.catch(() => undefined).then(work);
    newest.set(key, turn);
    const leave = (): void => void (newest.get(key) === turn && newest.delete(key));
    turn.then(leave, leave);
    return turn;
  };
}
