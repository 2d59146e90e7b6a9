"""`cryofs warm`: compile the program in advance, for all users of an installation."""

import click


@click.command("warm")
def command() -> None:
    """Compile the program in advance.

    Otherwise the first command of each user compiles it, which takes about 20 seconds. Run this once as the owner of
    the installation: the code is stored with the installed files, and all users read it there. Run it again on a
    machine with another type of processor.

    Example: cryofs warm (as root: sudo /opt/cryofs/bin/cryofs warm)
    """
    from cryofs.cli.output import Reporter
    from cryofs.codecs import compiled
    from cryofs.errors import ArchiveError
    from cryofs.kernels import warm_up

    with Reporter() as reporter:
        reporter.line("compiling ...")
        warm_up.load()
    stored = compiled.stored()
    if stored.for_all == stored.kernels:
        print(f"{stored.kernels} kernels in {stored.shared[0]} and beside, for all users of this installation")
    elif stored.for_user + stored.for_all >= stored.kernels:
        print(f"{stored.kernels} kernels in {stored.own[0].parent}, for this user only")
    else:
        raise ArchiveError("compiled code cannot be stored in any folder; see the lines above")
