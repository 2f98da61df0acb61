/** For the switch `rewrites` of the embedded KMS: changes items of a reply, wherever in it they are. */
import { type Item, ItemType, type StructureItem } from "../../src/kmip/ttlv/item.ts";
import { Tag } from "../../src/kmip/spec/tags.ts";
import { ResultStatus } from "../../src/kmip/spec/enumerations.ts";

/** What stands in an item's place. */
export type Change = (item: Item) => readonly Item[];

/** Changes every item with this tag. */
export function changing(tag: number, change: Change): (reply: Item) => Item {
  return (reply) => within(reply, (item) => (item.tag === tag ? change(item) : [item]));
}

/** Changes the replies to one operation, as `Encrypt`; others are as they were. */
export function ofOperation(
  name: string,
  rewrite: (reply: Item) => Item,
): (reply: Item, operations: readonly string[]) => Item {
  return (reply, operations) => (operations.includes(name) ? rewrite(reply) : reply);
}

/** Each item below `item` as `change` has it, and then those below it. */
export function within(item: Item, change: Change): Item {
  if (item.type !== ItemType.Structure) return item;
  return { ...item, value: item.value.flatMap(change).map((one) => within(one, change)) };
}

/** The same reply as a refusal. */
export function refused(reply: Item, reason: number, message = "refused"): Item {
  return within(reply, (item) => {
    if (item.tag === Tag.ResponsePayload) return [];
    if (item.tag !== Tag.ResultStatus) return [item];
    return [
      { ...item, value: ResultStatus.OperationFailed } as Item,
      { tag: Tag.ResultReason, type: ItemType.Enumeration, value: reason },
      { tag: Tag.ResultMessage, type: ItemType.TextString, value: message },
    ];
  });
}

/** A structure with other items in it. */
export function holding(item: Item, items: (before: readonly Item[]) => readonly Item[]): StructureItem {
  if (item.type !== ItemType.Structure) throw new TypeError("not a structure");
  return { ...item, value: items(item.value) };
}

/** A Text String. */
export function text(tag: number, value: string): Item {
  return { tag, type: ItemType.TextString, value };
}
