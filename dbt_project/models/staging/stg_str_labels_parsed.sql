with

typed as (

    select
        _file,
        _row,
        _delivery_id,
        {{ clean_id('client_id') }} as client_id,
        {{ clean_text('str_flag') }} as flag_text,
        {{ clean_text('str_date') }} as date_text,
        {{ parse_flag(clean_text('str_flag')) }} as is_str,
        {{ parse_date(clean_text('str_date')) }} as parsed_date
    from {{ source('raw', 'str_labels') }}

),

judged as (

    select
        *,
        case when is_str then parsed_date end as str_date,
        {{ findings([
            ["client_id is null", "client_id", "null::varchar", "missing_client_id"],
            ["flag_text is null", "str_flag", "flag_text", "missing_str_flag"],
            ["flag_text is not null and is_str is null", "str_flag", "flag_text", "str_flag_not_0_or_1"],
            ["is_str and date_text is null", "str_date", "date_text", "missing_str_date"],
            ["is_str and date_text is not null and parsed_date is null", "str_date", "date_text",
                "unparsable_str_date"],
            ["is_str and not " ~ is_plausible_date("parsed_date"), "str_date", "date_text", "implausible_str_date"],
        ]) }} as own_reasons
    from typed

),

ranked as (

    select
        *,
        row_number() over (
            partition by client_id, is_str, str_date
            order by own_reasons is not null, _delivery_id, _file, _row
        ) as copy_number
    from judged

),

final as (

    select
        client_id,
        is_str,
        str_date,
        case
            when own_reasons is null and copy_number > 1
                then [{{ finding('str_date', 'date_text', 'duplicate_label_identical') }}]
            else own_reasons
        end as reasons,
        {{ findings([
            ["not is_str and date_text is not null", "str_date", "date_text", "date_of_a_label_without_str_ignored"],
        ]) }} as repairs,
        _file,
        _row,
        _delivery_id
    from ranked

)

select * from final
