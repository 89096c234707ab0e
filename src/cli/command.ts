/** Commander's command, except that what a command line lacks is said at once and not one thing a try. */
import { Command, type Option } from 'commander'

export class MusterCommand extends Command {
  override createCommand(name?: string): Command {
    return new MusterCommand(name)
  }

  /** Commander calls this for the first option that is missing (no type says so, a test does). */
  missingMandatoryOptionValue(_first: Option): never {
    const missing = [
      ...this.registeredArguments
        .filter(({ required }, index) => required && this.args[index] === undefined)
        .map((argument) => `<${argument.name()}>`),
      ...this.options
        .filter((option) => option.mandatory && this.getOptionValue(option.attributeName()) === undefined)
        .map(({ flags }) => `'${flags}'`),
    ]
    return this.error(
      missing.length === 1
        ? `error: required option ${missing[0]} is missing`
        : `error: these are missing: ${missing.join(', ')}`,
      { code: 'commander.missingMandatoryOptionValue' },
    )
  }
}
