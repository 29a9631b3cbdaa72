# Thin on purpose: everything happens in `python -m fer_helpers.run <command> [NAME=value ...]`: Windows needs no make.
# `make help` lists the commands and the variables: DATA LABELS EMOTIONS BUDGET SEED OUT PARAMS DEVICE START VERBOSE CLUSTER MODEL FORMAT INT8 VIDEO ANNOTATED A B TORCH_INDEX.
# PYTHON=python3.12 chooses the Python that builds .venv.
PYTHON ?= python3

# Whatever was given as NAME=value reaches the command, misspelt names too (it knows what to say about them);
# variables of the shell don't, since one called DATA or MODEL may mean something else there.
NAMES = $(foreach name,$(filter-out PYTHON,$(.VARIABLES)),$(if $(filter command,$(origin $(name))),$(name)))
GIVEN = $(foreach name,$(NAMES),$(name)='$(subst ','\'',$(value $(name)))')
RUN = @"$(PYTHON)" -m fer_helpers.run

COMMANDS = help setup run-all studies 01 02 03 04 05 06 07 08 09 10 lab report compare evaluate export demo video check \
  test rehearse bench bench-accuracy reference address clean tests

.PHONY: $(COMMANDS)
.NOTPARALLEL:

$(COMMANDS): ; $(RUN) $@ $(GIVEN)
.DEFAULT: ; $(RUN) $@ $(GIVEN)
