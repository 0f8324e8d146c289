<?php
echo json_encode(["a" => [1, null]]), "\n";
echo strlen(hash("sha256", "x")), " ", mb_strlen("é"), "\n";
$db = new PDO("sqlite::memory:");
$db->exec("create table t(a)");
$db->exec("insert into t values (40), (2)");
echo $db->query("select sum(a) from t")->fetchColumn(), "\n";
echo trim(shell_exec("echo through")), "\n";
$f = tempnam(sys_get_temp_dir(), "k");
file_put_contents($f, str_repeat("x", 1000));
echo filesize($f), "\n";
unlink($f);
echo php_ini_loaded_file(), "\n";
