
quote " back \''"
tab	new
lineÿÿÿÿ2quote " back \@H