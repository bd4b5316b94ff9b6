/** What `work` makes of the items, in no order, `count` at the same time; none is begun once it is stopped. */
export async function inLanes<Item, Result>(
  items: readonly Item[],
  { count, isStopped }: { count: number; isStopped(): boolean },
  work: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const left = items.values();
  const done: Result[] = [];
  const lane = async (): Promise<void> => {
    for (const item of left) {
      if (isStopped()) return;
      done.push(await work(item));
    }
  };
  await Promise.all(Array.from({ length: count }, lane));
  return done;
}
