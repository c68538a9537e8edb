/**
 * Holds the types that the pages use against those generated from the API's own description (`make generate`). Only
 * the compiler reads this: a field that the API renames or drops fails the build here and not on somebody's screen.
 */

import type { components } from './openapi'
import type * as Ours from './types'

type Theirs = components['schemas']

/** The description widens some closed sets to `string`: which strings there are is checked by tests, not here. */
type Widen<Value> = Value extends string
  ? string
  : Value extends number
    ? number
    : Value extends boolean
      ? boolean
      : Value extends (infer Item)[]
        ? Widen<Item>[]
        : Value extends object
          ? { [Key in keyof Value]: Widen<Value[Key]> }
          : Value

type Conforms<Declared, Used> = Widen<Declared> extends Widen<Used> ? true : never

export type ContractHolds = [
  Conforms<Theirs['CourseSnapshot'], Ours.CourseSnapshot>,
  Conforms<Theirs['Student'], Ours.Student>,
  Conforms<Theirs['HelpState'], Ours.HelpState>,
  Conforms<Theirs['CourseState'], Ours.CourseState>,
  Conforms<Theirs['TokenAnswer'], Ours.TokenAnswer>,
  Conforms<Theirs['Me'], Ours.Me>,
  Conforms<Theirs['CourseListItem'], Ours.CourseSummary>,
  Conforms<Theirs['StudentDetail'], Ours.StudentDetail>,
  Conforms<Theirs['StudentCell'], Ours.CellProgress>,
  // The description leaves the outputs of a run open; they are those of the event.
  Conforms<Omit<Theirs['Run'], 'outputs'>, Omit<Ours.Run, 'outputs'>>,
  Conforms<Theirs['Output'], Ours.RunOutput>,
  Conforms<Theirs['Activity'], Ours.Activity>,
  Conforms<Theirs['HelpAnswer'], { help: Ours.HelpState }>,
]

/** Every entry is `true`; anything else does not compile. */
export const contractHolds: ContractHolds = [
  true,
  true,
  true,
  true,
  true,
  true,
  true,
  true,
  true,
  true,
  true,
  true,
  true,
]
