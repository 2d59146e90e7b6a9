rsync -a $S/ plain
rsync -a --inplace $S/ inplace
rsync -a --partial-dir=.partial $S/ partial

rsync -a --preallocate $S/ allocated
rsync -aHAX $S/ all
rsync -a --delay-updates $S/ partial

rsync -a --inplace --no-whole-file $CHANGED/ inplace
rsync -a --no-whole-file --checksum $CHANGED/ plain

rsync -a --append-verify $CHANGED/ partial
rsync -aHAX --delete $CHANGED/ all
rsync -a --sparse $CHANGED/ allocated

rsync -ani --checksum --delete $CHANGED/ inplace | grep -v ^.d || true
rsync -a --delete inplace/ partial
