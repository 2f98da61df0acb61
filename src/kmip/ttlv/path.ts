/**
 * Where in a message a fault is: `RequestMessage/BatchItem[0]/Operation`. Computed when there is a fault, so that
 * decoding and encoding carry no path around.
 */
import { Tag, tagIdentifier } from "../spec/tags.ts";
import { type Item, ItemType } from "./item.ts";
import { headerBytes, paddedBytes } from "./limits.ts";

/** An item that comes more than once by nature is always numbered, any other from its second on. */
function step(tag: number, earlier: number): string {
  const repeats = earlier > 0 || tag === Tag.BatchItem || tag === Tag.Attribute;
  return repeats ? `${tagIdentifier(tag)}[${earlier}]` : tagIdentifier(tag);
}

/** The part of the message that {@link pathInBytes} walks. */
interface Range {
  readonly start: number;
  readonly end: number;
}

/** Finds the child in which an offset lies. Everything before it has been checked by the reader already. */
function childAt(
  view: DataView,
  parent: Range,
  offset: number,
): { name: string; value: Range | undefined } | undefined {
  const seen = new Map<number, number>();
  let at = parent.start;
  while (at + headerBytes <= parent.end) {
    const tag = view.getUint32(at) >>> 8;
    const earlier = seen.get(tag) ?? 0;
    const valueStart = at + headerBytes;
    const next = valueStart + paddedBytes(view.getUint32(at + 4));
    if (offset < next) {
      const isInside = offset >= valueStart && view.getUint8(at + 3) === ItemType.Structure;
      return { name: step(tag, earlier), value: isInside ? { start: valueStart, end: next } : undefined };
    }
    seen.set(tag, earlier + 1);
    at = next;
  }
  return undefined;
}

/**
 * The path to the innermost item that holds an offset of an encoded message. Only to be called for an offset at
 * which the reader stopped: what lies before it must be well-formed.
 */
export function pathInBytes(view: DataView, offset: number): string {
  const names: string[] = [];
  let range: Range | undefined = { start: 0, end: view.byteLength };
  while (range !== undefined) {
    const child = childAt(view, { start: range.start, end: Math.min(range.end, view.byteLength) }, offset);
    if (child === undefined) break;
    names.push(child.name);
    range = child.value;
  }
  return names.join("/");
}

/** The path that a trail of items takes, from the root to the faulty item. */
export function pathOfTrail(trail: readonly Item[]): string {
  return trail
    .map((item, depth) => {
      const parent = trail[depth - 1];
      const siblings = parent?.type === ItemType.Structure ? parent.value : [item];
      const before = siblings.slice(0, siblings.indexOf(item));
      return step(item.tag, before.filter((sibling) => sibling.tag === item.tag).length);
    })
    .join("/");
}
